"""Visits in headless Chromium, by keyboard alone, and what axe-core says. `PAGE_PICTURES=DIR` keeps screenshots."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from eaglenet_jax.search.page.asked import Asked
from tests.search.browsing import faults

pytestmark = pytest.mark.browser


def keep(page, name, tmp_path):
    page.screenshot(path=Path(os.environ.get("PAGE_PICTURES", tmp_path)) / f"{name}.png")


def focused(page, attribute="class"):
    return page.evaluate(f"document.activeElement.getAttribute('{attribute}')")


def test_a_visit_with_the_keyboard(visit, page_index, tmp_path):
    page = visit()
    caption = page_index[1]["test_0000.mp4"]
    keep(page, "start", tmp_path)
    page.keyboard.type(caption)  # the cursor is there already
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=*")
    assert "depth" not in page.url and page.locator(".results .card").count() == 6
    page.wait_for_load_state("networkidle")
    keep(page, "results", tmp_path)
    assert page.title() == caption and page.locator(".what img").count() == 0

    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    first, second = page.locator(".results .card").nth(0), page.locator(".results .card").nth(1)
    assert second.evaluate("card => card === document.activeElement")
    second.locator(".preview").wait_for()  # focus previews
    page.keyboard.press("ArrowLeft")
    assert first.evaluate("card => card === document.activeElement")
    first.locator(".preview").wait_for()
    assert page.locator(".preview").count() == 1  # the other one's has gone
    page.keyboard.press("Tab")
    assert second.evaluate("card => card === document.activeElement")  # one stop a result
    page.keyboard.press("Shift+Tab")

    page.keyboard.press("Enter")
    video = page.locator("dialog video")
    video.wait_for()
    start, end = (float(video.get_attribute(f"data-{name}")) for name in ("start", "end"))
    page.wait_for_function("video => video.currentTime > 0 && !video.paused", arg=video.element_handle())
    assert "m=" in page.url and page.locator("dialog h2").inner_text() in first.inner_text()
    keep(page, "player", tmp_path)
    page.wait_for_function("video => video.paused", arg=video.element_handle(), timeout=20_000)
    assert start <= video.evaluate("video => video.currentTime") <= end + 0.35  # it ends with the moment
    shares = [float(text.strip(" %")) for text in page.locator("dialog .share").all_inner_texts()]
    assert 6 <= len(shares) <= 12 and sum(shares) == pytest.approx(100, abs=4)

    opened = page.url
    page.keyboard.press("ArrowRight")  # the next moment
    page.wait_for_function("before => location.href !== before", arg=opened)
    page.wait_for_function("() => document.querySelector('dialog [data-previous]') !== null")
    page.reload()
    page.locator("dialog video").wait_for()  # the address says which moment is open
    page.go_back()
    page.wait_for_function("() => !document.querySelector('dialog').open && !location.search.includes('m=')")
    page.keyboard.press("/")
    assert focused(page, "id") == "q"
    page.keyboard.type("xqzzt")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing here clearly fits").wait_for()
    page.wait_for_load_state("networkidle")
    keep(page, "weak", tmp_path)
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert page.locator("#q").input_value() == "xqzzt"  # kept, though browsers empty such a box
    page.go_back()
    page.wait_for_function("() => !location.search.includes('xqzzt')")
    assert page.locator("#q").input_value() == caption


def test_frames_and_escape_in_the_player(visit):
    page = visit("/?q=a+star")
    card = page.locator(".results .card").first
    card.focus()
    page.keyboard.press("Enter")
    page.locator("dialog video").wait_for()
    frames = page.locator("dialog [data-time]")
    frames.first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert frames.nth(2).evaluate("frame => frame === document.activeElement && frame.tabIndex === 0")
    page.keyboard.press("Enter")
    time = float(frames.nth(2).get_attribute("data-time")) - float(
        page.locator("dialog video").get_attribute("data-offset")
    )
    page.wait_for_function(f"() => Math.abs(document.querySelector('dialog video').currentTime - {time}) < 1.5")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open")
    assert "m=" not in page.url and card.evaluate("card => card === document.activeElement")
    card.click()
    page.locator("dialog video").wait_for()
    for _ in range(2):
        before = page.url
        page.keyboard.press("ArrowRight")
        page.wait_for_function("before => location.href !== before", arg=before)
        page.locator("dialog video").wait_for()
    last = re.search("m=([^&]+)", page.url)[1]
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open")
    inside = "(card, id) => card === document.activeElement && card.outerHTML.includes(id)"
    assert any(each.evaluate(inside, last) for each in page.locator(".results .card").all())
    assert not card.evaluate("card => card === document.activeElement")


def test_a_file_that_browsers_do_not_play_is_played_as_a_copy(visit):
    page = visit("/?q=a+star")
    page.locator(".results .card", has_text=".avi").click()
    video = page.locator("dialog video")
    video.wait_for()
    page.wait_for_function("video => video.currentTime > 0.2", arg=video.element_handle(), timeout=60_000)
    assert "copy without sound" in page.locator("dialog").inner_text()


def test_a_clip_that_is_dropped_is_the_query(visit, page_index):
    page = visit()
    clip = page_index[2] / "videos" / "test_0004.mp4"
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(bytes)], "clip.mp4", { type: "video/mp4" }));
            dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(clip.read_bytes()),
    )
    page.wait_for_url("**/?file=*", timeout=60_000)
    assert page.locator(".what").first.inner_text() == "test_0004.mp4"
    assert "clip.mp4" in page.locator(".about").inner_text()


def test_without_a_script(visit):
    page = visit("/?q=a+star", java_script_enabled=False)
    page.locator(".results .card").first.click()
    page.locator("dialog video").wait_for()
    page.locator("dialog [data-next]").click()
    page.locator("dialog [data-previous]").wait_for()
    page.locator("dialog [data-close]").click()
    page.wait_for_url("**/?q=a+star")
    assert page.locator("dialog video").count() == 0 and page.get_by_text("Search by this file").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(visit, scheme, tmp_path):
    page = visit("/", color_scheme=scheme)
    assert faults(page) == []
    page.goto(page.url + "?q=a+star&max=99")
    page.wait_for_load_state("networkidle")
    assert faults(page) == []
    keep(page, scheme, tmp_path)
    page.locator(".results .card").first.click()
    page.locator("dialog video").wait_for()
    assert faults(page) == []
    page.goto(page.url.partition("?")[0] + "?q=xqzzt")
    page.get_by_text("Nothing here clearly fits").wait_for()
    page.wait_for_load_state("networkidle")
    assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_small_screen_shows_a_result_at_once(visit, page_index, scheme, tmp_path):
    address = Asked(page_index[1]["test_0000.mp4"]).address()
    page = visit(address, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    keep(page, f"small_{scheme}", tmp_path)
    assert faults(page) == []
    box = page.locator(".results .card").first.bounding_box()
    assert box["y"] + box["height"] < 844
    page.locator(".results .card").first.click()
    page.locator("dialog video").wait_for()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 390
    assert faults(page) == []


def test_reduced_motion_keeps_previews_still(visit):
    page = visit("/?q=a+star", reduced_motion="reduce")
    page.locator(".results .card").first.focus()
    picture = page.locator(".preview i")
    picture.wait_for()
    before = picture.evaluate("picture => picture.style.backgroundPosition")
    page.wait_for_timeout(1000)
    assert picture.evaluate("picture => picture.style.backgroundPosition") == before
