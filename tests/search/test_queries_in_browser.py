"""Ways to ask in headless Chromium: a pasted picture, filters by keyboard, a model that still loads; what is loaded."""

from __future__ import annotations

import datetime
import io
import os
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page import answers as answers_module
from eaglenet_jax.search.page.answers import Answers
from tests.search.browsing import faults, serving, walk
from tests.search.clips import COLORS, write_colours

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)
PASTE = """async () => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 48;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "rgb(30, 30, 200)";
    pen.fillRect(0, 0, 48, 48);
    const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}"""


def test_a_picture_from_the_clipboard_is_the_query(visit):
    page = visit("/?q=a+star", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(PASTE)
    page.keyboard.press("Control+v")
    page.wait_for_url("**/?file=*", timeout=60_000)
    assert "look like image.png" in page.locator(".about").inner_text() and page.locator(".results .card").count() == 6


@pytest.mark.parametrize("path", ["/", "/?q=a+star"])
def test_a_file_is_chosen_by_keyboard(visit, path):
    page = visit(path)
    page.on("filechooser", lambda _: None)  # choosers are intercepted from here on, not from the moment of the key
    page.wait_for_load_state("networkidle")
    walk(page, "#file")
    with page.expect_file_chooser() as asked:
        page.keyboard.press("Space")
    picture = io.BytesIO()
    Image.new("RGB", (48, 48), (30, 30, 200)).save(picture, "PNG")
    asked.value.set_files({"name": "blue.png", "mimeType": "image/png", "buffer": picture.getvalue()})
    page.wait_for_url("**/?file=*", timeout=60_000)
    assert "look like blue.png" in page.locator(".about").inner_text()


def test_pages_by_keyboard(visit, monkeypatch):
    monkeypatch.setattr(answers_module, "VIDEOS_A_PAGE", 4)
    page = visit("/?q=a+star")
    walk(page, "[rel=next]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+star&page=2")
    assert page.locator(".results .card").count() == 2
    walk(page, "[rel=prev]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+star")
    assert page.locator(".results .card").count() == 4


def test_text_from_the_clipboard_is_typed(visit):
    page = visit("/", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('a red star')")
    page.keyboard.press("Control+v")
    assert page.locator("#q").input_value() == "a red star"


@pytest.fixture(scope="module")
def shelves(tmp_path_factory, page_index):
    """Address of an index of three videos in two folders: of 2, 4 and 8 seconds, of 2024, 2025 and 2026."""
    folder = tmp_path_factory.mktemp("shelves")
    for name, seconds, year in (("old/short", 2, 2024), ("old/middle", 4, 2025), ("new/long", 8, 2026)):
        file = folder / "videos" / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_colours(file, COLORS[: seconds // 2], seconds_each=2)
        os.utime(file, (datetime.datetime(year, 6, 1).timestamp(),) * 2)
    index = SearchIndex.create(folder / "index", "demo")
    index.__dict__["model"] = page_index[0].model
    assert index.add(folder / "videos").new == 3
    answers = Answers(index)
    answers.waiting = None
    with serving(answers) as address:
        yield address, folder / "videos"


def test_filters_by_keyboard(browser, shelves):
    address, folder = shelves
    page = browser.new_page()
    page.goto(address)

    def shown():
        page.wait_for_load_state("networkidle")
        return sorted(page.locator(".results .what").all_inner_texts())

    def search(name, value):
        """Walk with Tab from the box to a field of the options, set it, and search with Enter."""
        page.keyboard.press("/")
        if not page.locator("details.options").evaluate("options => options.open"):
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")  # on "Options"
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == name:
                break
        assert page.evaluate("document.activeElement.name") == name
        page.keyboard.type(value)
        page.locator("#q").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: f"{name}=" in url)

    page.keyboard.type("/a star")  # the box has the focus: the key that leads to it is no part of the sentence
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "q=a+star" in url)
    assert shown() == ["long.mp4", "middle.mp4", "short.mp4"]
    search("max", "5")
    assert shown() == ["middle.mp4", "short.mp4"]
    search("min", "3")
    assert shown() == ["middle.mp4"] and page.locator(".count").inner_text() == "on"
    page.goto(f"{address}/?q=a+star")
    search("folder", str(folder / "old"))
    assert shown() == ["middle.mp4", "short.mp4"]
    search("from", "01012025")
    assert "from=2025-01-01" in page.url and shown() == ["middle.mp4"]
    page.goto(f"{address}/?q=a+star")
    search("to", "12312025")
    assert shown() == ["middle.mp4", "short.mp4"]
    assert faults(page) == []
    page.close()


def test_a_first_query_waits_in_view(browser, page_index, answers):
    slow = Answers(page_index[0])  # `answers` has compiled what it needs
    with serving(slow) as address:
        page = browser.new_page()
        page.goto(f"{address}/?q=a+star")
        expect(page.locator(".waiting")).to_contain_text(re.compile(r"First query: loading the model … \d+ s"))
        assert faults(page) == [] and page.locator("#q").input_value() == "a star"
        slow.waiting = "compiling the model"
        expect(page.locator(".waiting")).to_contain_text("compiling the model")
        slow.waiting = None
        expect(page.locator(".results .card")).to_have_count(6)
        page.close()


def test_words_of_confidence_come_when_they_are_known(browser, page_index, answers):
    late = Answers(page_index[0])
    late.waiting = None
    with serving(late) as address:
        page, reading = browser.new_page(), browser.new_page()
        for each in (page, reading):
            each.goto(f"{address}/?q=a+star")
            expect(each.locator(".summary")).to_contain_text("will be known in some seconds")
        reading.locator(".results .card").first.focus()
        late.calibration, late._measurements = answers.calibration, 1
        expect(page.locator(".results .word")).to_have_count(6)
        expect(reading.get_by_role("link", name="Show how sure this is")).to_be_visible()
        assert reading.locator(".results .word").count() == 0  # nothing moved
        page.close()
        reading.close()


def test_examples_of_the_start_come_when_they_are_known(browser, page_index, answers):
    late = Answers(page_index[0])
    with serving(late) as address:
        page = browser.new_page()
        page.goto(address)
        page.keyboard.type("a st")
        expect(page.get_by_text("Looking for sentences that fit")).to_be_visible()
        assert faults(page) == []
        late.waiting, late.calibration = None, answers.calibration
        expect(page.locator(".chips a")).to_have_text(list(answers.examples))
        assert page.locator("#q").input_value() == "a st"  # what was typed meanwhile is kept
        page.close()


def test_words_that_never_come_are_not_waited_for(browser, page_index, answers, monkeypatch):
    late, asked = Answers(page_index[0]), []
    late.waiting = None

    def fail(index):
        raise UserError("cannot be measured")

    with serving(late) as address:
        start, found = browser.new_page(), browser.new_page()
        for page, path, waits in ((start, "/", "Looking for sentences"), (found, "/?q=a+star", "will be known in")):
            page.on("request", lambda request: asked.append(request.url) if "status" in request.url else None)
            page.clock.install()
            page.goto(address + path)
            expect(page.locator("main")).to_contain_text(waits)
        monkeypatch.setattr(SearchIndex, "calibration", property(fail))
        late._measure()
        for page in (start, found):
            page.clock.run_for(2000)
        expect(found.locator(".summary")).to_contain_text("how sure this is could not be measured")
        expect(start.locator(".no-chips")).to_have_count(0)
        assert "null" not in start.locator("body").inner_text()
        count = len(asked)
        for page in (start, found):
            page.clock.run_for(20_000)
            page.wait_for_load_state("networkidle")
            page.close()
        assert len(asked) == count >= 4


def test_a_refused_file_is_said_without_a_fault(visit):
    page = visit("/")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"none"})
    page.get_by_role("alert").wait_for(timeout=60_000)
    assert "a.png" in page.get_by_role("alert").inner_text() and faults(page) == []


def test_videos_load_only_in_the_player(visit):
    page, asked = visit("/"), []
    page.on("request", lambda request: asked.append(request.url))

    def loaded(part):
        return [url for url in asked if part in url]

    page.goto(page.url + "?q=a+star")
    page.wait_for_load_state("networkidle")
    assert page.locator("video").count() == 0 and not loaded("/media/") + loaded("/moments/") + loaded("/strips/")
    page.locator(".results .card").nth(1).focus()
    page.locator(".preview").wait_for()
    assert len(loaded("/strips/")) == 1 and not loaded("/media/")
    page.keyboard.press("Enter")
    page.locator("dialog video").wait_for()
    for _ in range(3):
        before = page.locator("dialog video").get_attribute("src")
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "before => document.querySelector('dialog video').getAttribute('src') !== before", arg=before
        )
        assert page.locator("video").count() == 1
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open")
    assert page.locator("video").count() == 0


def test_a_card_that_lay_under_the_pointer_before_the_script_came_is_previewed(visit):
    page, held = visit("/"), []
    page.route("**/page.js*", lambda route: held.append(route))
    page.goto(page.url + "?q=a+star", wait_until="commit")
    page.locator(".results .card").nth(1).hover()
    held[0].continue_()
    page.locator(".preview").wait_for()
