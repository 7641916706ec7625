"""The player and previews in headless Chromium: moments of a film, its buttons by keyboard, replies that come late."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from data_prep.moving_shapes.events import Events
from data_prep.moving_shapes.render import describe, write_video
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.asked import Asked
from eaglenet_jax.search.windows import WindowRule
from tests.search.browsing import serving, walk
from tests.search.clips import COLORS, write_colours

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)
WINDOW = 6.0  # seconds
PLAYER = "**/*part=player*"


@pytest.fixture(scope="module")
def films(tmp_path_factory, page_index, answers):
    """Answers about a clip of three events in one window and a film of three windows, and what an event is called."""
    folder = tmp_path_factory.mktemp("films")
    content, shots = describe({"test": 1}, 0, Events(3))
    ((_, filmed),) = shots.items()
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "events.mp4", filmed)
    write_colours(folder / "videos" / "colours.mp4", COLORS[:3], seconds_each=WINDOW)
    index = SearchIndex.create(folder / "index", "demo", WindowRule(WINDOW, 0))
    index.__dict__["model"] = page_index[0].model
    assert index.add(folder / "videos").windows == 4
    found = Answers(index)
    found.waiting, found.calibration = None, answers.calibration
    return found, content["sentences"][0]["caption"]


@pytest.fixture(scope="module")
def films_address(films):
    """Address of a server of the films."""
    with serving(films[0]) as address:
        yield address


@pytest.fixture
def watch(browser, films, films_address):
    """watch(answer) → a page of the event, whose requests for the player `answer` takes, without an error."""
    errors, pages = [], []

    def opened(answer=None):
        page = browser.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.clock.install()
        if answer:  # before the page is there: Chromium lets some requests past a route that is put up later
            page.route(PLAYER, answer)
        page.goto(films_address + Asked(films[1]).address())
        page.wait_for_load_state("networkidle")
        return page

    yield opened
    for page in pages:
        page.close()
    assert not errors


def test_a_preview_shows_the_frames_of_the_moment_alone(watch, films):
    page = watch()
    (moment,) = (each for each in films[0].answer(Asked(films[1])).moments if each.path.endswith("events.mp4"))
    inside = [number for number, time in enumerate(moment.times) if moment.start <= time <= moment.end]
    assert 1 < len(inside) < len(moment.times)
    page.clock.pause_at(page.evaluate("Date.now()") + 60_000)
    card = page.locator(".results .card", has_text="events.mp4")
    card.focus()
    picture = card.locator(".preview i")
    picture.wait_for()
    shown = []
    for _ in range(2 * len(inside)):
        position = picture.evaluate("picture => parseFloat(picture.style.backgroundPosition)")
        shown.append(round(position / 100 * (len(moment.times) - 1)))
        page.clock.run_for(400)
    first = inside.index(max(inside, key=lambda number: moment.weights[number]))
    assert shown == 2 * (inside[first:] + inside[:first])


def test_a_part_of_a_timeline_opens_its_moment(watch):
    page = watch()
    timeline = page.locator(".results .card", has_text="colours.mp4").locator(".timeline")
    assert timeline.locator(".part").count() == 3
    results = page.url
    clock = page.locator("dialog .when .clock")
    for place in (timeline, page.locator("dialog .timeline")):
        part = place.locator(".part:not(.current)").last
        identifier, said = part.get_attribute("data-moment"), part.locator("title").text_content()
        part.click()
        page.wait_for_url(f"**m={identifier}*")
        expect(clock).to_have_text(said)
        expect(page.locator("dialog .timeline .current")).to_have_attribute("data-moment", identifier)
    page.go_back()  # one entry of the history, however many moments were looked at
    page.wait_for_url(results)
    expect(page.locator("dialog video")).to_have_count(0)


def test_a_reply_after_escape_does_not_open_the_player_again(watch):
    late, held = True, []
    page = watch(lambda route: held.append(route) if late else route.continue_())
    page.keyboard.press("ArrowDown")
    for key in ("Enter", "ArrowRight"):  # while it opens, and while it goes to the next moment
        late = True
        with page.expect_request(PLAYER):
            page.keyboard.press(key)
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).not_to_be_visible()
        with page.expect_response(PLAYER):
            held.pop().continue_()
        page.evaluate("() => fetch('/icon.svg').then(answer => answer.text())")  # later than that reply
        expect(page.locator("dialog")).not_to_be_visible()
        assert "m=" not in page.url
        late = False
        page.keyboard.press("Enter")
        page.locator("dialog video").wait_for()


def test_a_server_that_is_gone_is_said(watch):
    gone = True
    page = watch(lambda route: route.abort() if gone else route.continue_())
    page.keyboard.press("ArrowDown")
    before = page.url
    for _ in range(2):
        with page.expect_event("requestfailed", lambda request: "part=player" in request.url):
            page.keyboard.press("Enter")
        expect(page.locator("main [role=alert]")).to_have_text("The server does not answer.")
    gone = False
    page.keyboard.press("Enter")
    page.locator("dialog video").wait_for()
    expect(page.locator("[role=alert]")).to_have_count(0)
    opened, gone = page.url, True
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog [role=alert]")).to_have_text("The server does not answer.")
    assert page.url == opened != before  # which still says what is shown


def opened_with_a_key(visit, **options):
    """A page whose player was opened by keyboard, of a file that browsers play."""
    page = visit("/?q=a+star", **options)
    page.locator(".results .card", has_text="test_0003.mp4").focus()
    page.keyboard.press("Enter")
    page.locator("dialog video").wait_for()
    return page


def test_more_like_this_by_keyboard(visit):
    page = opened_with_a_key(visit)
    walk(page, 'dialog a[href^="/?like="]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/?like=*")
    assert "look like the one you chose" in page.locator(".about").inner_text()
    assert page.locator(".results .card").count() == 5


def test_open_at_this_time_by_keyboard(visit):
    page = opened_with_a_key(visit)
    start = page.locator("dialog video").get_attribute("data-start")
    walk(page, 'dialog a[target="_blank"]')
    with page.context.expect_page() as alone:
        page.keyboard.press("Enter")
    alone.value.wait_for_url(lambda url: "/media/" in url and f"#t={start}," in url)


def test_copy_link_by_keyboard(visit):
    page = opened_with_a_key(visit, permissions=["clipboard-read", "clipboard-write"])
    walk(page, "[data-copy]")
    page.keyboard.press("Enter")
    page.get_by_text("Link copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_a_link_is_copied_where_the_clipboard_is_missing(visit):
    page = opened_with_a_key(visit)  # a page without HTTPS from another machine
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    opened = page.url
    walk(page, "[data-copy]")
    page.keyboard.press("Enter")
    page.get_by_text("Link copied").wait_for()
    assert page.evaluate("document.activeElement.matches('[data-copy]')") and not page.locator("[data-link]").count()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).not_to_be_visible()
    page.keyboard.press("/")
    page.keyboard.press("Control+v")
    assert page.locator("#q").input_value() == opened


def test_a_link_that_cannot_be_copied_is_there_to_copy(visit):
    page = opened_with_a_key(visit)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("document.execCommand = () => false")
    walk(page, "[data-copy]")
    page.keyboard.press("Enter")
    field = page.get_by_label("Link to this moment")
    expect(field).to_be_focused()
    selected = field.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)")
    assert selected == page.url
    page.locator("[data-copy]").click()
    assert field.count() == 1 and page.locator("[data-copy]").inner_text() == "Copy link"
