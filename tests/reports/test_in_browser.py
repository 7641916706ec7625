"""The report in headless Chromium: light, dark, on a small screen and printed, without a network."""

from __future__ import annotations

import shutil

import pytest

from tests.reports.sample_report import VIDEOS, write_made_page

pytestmark = pytest.mark.browser
CUT_OFF = """() => [...document.querySelectorAll('body *')].filter(one => {
    const box = one.getBoundingClientRect(), hidden = one.closest('thead, svg');
    return !hidden && (box.right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
}).map(one => one.outerHTML.slice(0, 120))"""
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    return write_made_page(tmp_path_factory.mktemp("page") / "report.html").as_uri()


def _contrast(page, selector: str) -> float:
    """WCAG contrast of an element's text with the page."""
    return page.evaluate(
        """selector => {
        const light = color => {
            const parts = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const text = light(getComputedStyle(document.querySelector(selector)).color);
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
    }""",
        selector,
    )


def test_no_width_cuts_anything_off(browser, file) -> None:
    page = browser.new_page()
    page.goto(file)
    for width in (320, 480, 561, 800, 901, 1000, 1111):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_legible_and_fits(browser, file, scheme, width) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file)
    assert page.title() == "A made-up run, test split"  # the caption that is a script did not run
    assert {url.split(":")[0] for url in asked} <= {"file", "data"} and not complaints
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in ("h1", "p.faint", "td", "th", ".good", ".bad", ".small"):
        assert _contrast(page, selector) >= 4.5, selector
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    sizes = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth * one.clientWidth)")
    assert len(sizes) > VIDEOS and min(sizes) > 0
    for chart in page.query_selector_all("svg.chart"):
        box = chart.bounding_box()
        assert box["width"] > 250 and box["height"] > 100
    lines = page.eval_on_selector_all("polyline", "all => all.map(one => getComputedStyle(one).stroke)")
    assert len(lines) == 8 and len(set(lines)) == 4  # both directions
    assert page.evaluate(CUT_OFF) == []
    shown = page.evaluate("document.querySelector('.retrieval').currentSrc.length")
    wide = page.evaluate("document.querySelector('.retrieval').src.length")
    assert (shown == wide) == (width > 560)
    assert len(page.screenshot(full_page=True)) > 50_000
    page.close()


def test_it_prints(browser, file) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(file)
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 14
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_frames_of_a_query_stand_below_each_other(browser, file, width) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file)
    places = page.eval_on_selector_all(
        ".query .found:not(.plain)",
        """lists => lists.map(list => [...list.querySelectorAll('.video')].map(video =>
            [...video.querySelectorAll('.frames > span')].map(frame => {
                const box = frame.getBoundingClientRect();
                return [Math.round(box.left), Math.round(box.width)];
            })))""",
    )
    assert len(places) == 6 and all(len(video) == 12 for query in places for video in query)
    assert all(video == places[0][0] for query in places for video in query)
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_fault(browser, file, width) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file)
    found = Axe().run(page, options=RULES).response["violations"]
    assert [(fault["id"], [node["html"][:160] for node in fault["nodes"]]) for fault in found] == []
    page.close()
