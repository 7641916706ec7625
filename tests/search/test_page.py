"""The page: what it serves, and a visit in headless Chromium. `PAGE_PICTURES=DIR` keeps the screenshots."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from playwright.sync_api import sync_playwright

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.commands.serve import _listen
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page import allowed_names
from eaglenet_jax.search.playing import copy_of_moment, picture_of, plays_in_browsers
from tests.search.clips import COLORS, write_colours, write_shapes


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Six clips, one of them in a format that browsers do not play, one with a malicious name."""
    folder = tmp_path_factory.mktemp("page")
    videos = folder / "videos"
    captions = write_shapes(videos, 6)
    with av.open(str(videos / "test_0001.mp4")) as source, av.open(str(videos / "test_0001.avi"), "w") as copy:
        stream = copy.add_stream("mpeg4", rate=12)
        shown = source.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        for frame in source.decode(video=0):
            copy.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")))
        copy.mux(stream.encode())
    (videos / "test_0001.mp4").unlink()
    (videos / "test_0002.mp4").rename(videos / "<img src=x onerror='document.title=1'>${1+1}.mp4")
    index = SearchIndex.create(folder / "index", "demo")
    assert index.add(videos).new == 6
    (folder / "secret.mp4").write_bytes(b"not of the index")
    return index, captions, folder


# What is served -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(index):
    command = [sys.executable, "-m", "eaglenet_jax.search", "serve", f"--index={index[0].store.uri}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            yield address
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def get(address):
    """get(path, headers) → status, headers and content, the path sent as it is. The server has its own process: Gradio
    leaves an event loop open.
    """

    def ask(path, headers=None):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    return ask


@pytest.fixture(scope="module")
def moments(index):
    return index[0].query("a star", top=6)


@pytest.mark.search
def test_files_of_the_index_are_served_in_pieces(get, moments):
    (best, *_) = (moment for moment in moments if moment.path.endswith("0000.mp4"))
    content = Path(best.path).read_bytes()
    assert get(f"/media/{best.id}")[2] == content
    status, _, part = get(f"/media/{best.id}", {"Range": "bytes=10-19"})
    assert status == 206 and part == content[10:20]
    _, headers, picture = get(f"/frames/{best.id}/0")
    assert headers["content-type"] == "image/jpeg" and picture.startswith(b"\xff\xd8")


@pytest.mark.search
def test_no_other_file_is_served(get, index, moments):
    secret, (some, *_) = index[2] / "secret.mp4", moments
    tricks = [
        f"/media/{secret}",
        f"/media/..%2f..%2f{str(secret).strip('/').replace('/', '%2f')}",
        "/media/..%2fsecret.mp4",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media/../../../../../../etc/passwd",
        "/media/'%20OR%20path%20!=%20'",
        f"/media/{some.id}/../../secret.mp4",
        f"/media/{some.id}%00",
        f"/moments/{secret}",
        f"/frames/{some.id}/99",
        f"/frames/{some.id}/-1",
        f"/gradio_api/file={secret}",
        f"/gradio_api/file={some.path}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=setup.py",
        f"/file={secret}",
        "/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
    ]
    for path in tricks:
        status, _, content = get(path)
        assert status in (400, 403, 404, 422), (path, status)
        assert b"not of the index" not in content and b"root:" not in content


@pytest.mark.search
def test_another_name_for_this_machine_is_refused(get):
    assert get("/", {"Host": "evil.example"})[0] == 400
    assert get("/")[0] == 200


@pytest.mark.search
def test_moments_that_browsers_do_not_play_are_copied(get, moments):
    (avi,) = (moment for moment in moments if moment.path.endswith(".avi"))
    _, headers, content = get(f"/moments/{avi.id}")
    assert headers["content-type"] == "video/mp4" and b"ftyp" in content[:16]


@pytest.mark.search
def test_a_merged_moment_is_copied_as_far_as_it_reaches(get, moments):
    (avi,) = (moment for moment in moments if moment.path.endswith(".avi"))
    whole = seconds_of(get(f"/moments/{avi.id}")[2])
    assert seconds_of(get(f"/moments/{avi.id}?start=0.5&end=1.0")[2]) == pytest.approx(0.5, abs=0.2)
    assert whole > 1
    for far in ("start=-9e9&end=9e9", "start=nan&end=inf"):
        assert seconds_of(get(f"/moments/{avi.id}?{far}")[2]) == pytest.approx(whole)
    assert get(f"/moments/{avi.id}?start=3e5&end=4e5")[0] == 404


def seconds_of(video):
    with av.open(io.BytesIO(video)) as container:
        return container.duration / av.time_base


def test_copies_are_of_the_file_as_it_is_now(tmp_path):
    file = tmp_path / "colours.mp4"
    write_colours(file, COLORS[:2])
    assert plays_in_browsers(str(file)) and (first := copy_of_moment(str(file), 0, 1))
    write_colours(file, COLORS[2:4])
    assert copy_of_moment(str(file), 0, 1) != first
    file.write_bytes(b"no video any more")
    assert not plays_in_browsers(str(file))
    for show in (lambda: copy_of_moment(str(file), 0, 1), lambda: picture_of(str(file), 0.0)):
        with pytest.raises(DecodeError):
            show()


@pytest.mark.search
def test_files_that_are_others_now_are_not_found(get, moments):
    moment = next(moment for moment in moments if moment.path.endswith("0003.mp4"))
    file, nosniff = Path(moment.path), get(f"/media/{moment.id}")[1]["X-Content-Type-Options"]
    content = file.read_bytes()
    paths = [f"/media/{moment.id}", f"/moments/{moment.id}", f"/frames/{moment.id}/0"]
    try:
        file.write_bytes(bytes(len(content)))  # of the same size, and nothing in it
        assert [get(path)[0] for path in paths] == [200, 404, 404]
        file.write_bytes(b"something else")
        assert [get(path)[0] for path in paths] == [404, 404, 404]
    finally:
        file.write_bytes(content)
    assert nosniff == "nosniff" and [get(path)[0] for path in paths] == [200, 200, 200]


@pytest.mark.search
def test_files_under_no_name_of_videos_are_not_served(index, get):
    searched, _, folder = index
    secret = folder / "notes.txt"
    secret.write_bytes((folder / "videos" / "test_0000.mp4").read_bytes())
    searched.add(secret)
    (identifier,) = (moment.id for moment in searched.query("a star", top=20) if moment.path == str(secret))
    assert get(f"/media/{identifier}")[0] == 404 and get(f"/moments/{identifier}")[0] == 200
    searched.store.drop([str(secret)])


@pytest.mark.search
@pytest.mark.parametrize("host", ["::1", "fe80::2", "127.0.0.1"])
def test_names_that_are_answered(host):
    from starlette.applications import Starlette
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("here"))])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_names(host))
    client = TestClient(app)
    shown = f"[{host}]" if ":" in host else host
    for name, status in {f"{shown}:7860": 200, shown: 200, "localhost:7860": 200, "[fe80::9]:7860": 400}.items():
        assert client.get("/", headers={"Host": name}).status_code == status, name


@pytest.mark.search
def test_a_port_that_is_taken_and_an_address_that_is_not_here():
    with _listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="another --host or --port"):
        _listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="cannot listen"):
        _listen("203.0.113.7", 0)


# A visit ------------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_visit_with_the_keyboard(index, address, tmp_path):
    pictures = Path(os.environ.get("PAGE_PICTURES", tmp_path))
    captions = index[1]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_label("Describe a scene").wait_for()
        page.keyboard.type(captions["test_0000.mp4"])  # the cursor is there already
        page.keyboard.press("Enter")
        page.locator(".moment").first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=pictures / "page.png")
        assert page.locator(".moment").count() == 6
        names = page.locator(".what").all_inner_texts()
        assert any(name.endswith("test_0000.mp4") for name in names[:3])
        # A file's name is text, whatever it looks like.
        assert any("<img" in name and "${1+1}" in name for name in names)
        assert page.title() == "Search your videos" and page.locator(".what img").count() == 0

        first = page.locator(".moment", has_text="test_0000.mp4")
        assert 6 <= first.locator(".frames li").count() <= 12  # three a second
        shares = [float(text.strip("%")) for text in first.locator(".share").all_inner_texts()]
        assert sum(shares) == pytest.approx(100, abs=4)
        assert first.locator(".frames img").first.evaluate("image => image.complete && image.naturalWidth > 0")
        for moment in (first, page.locator(".moment", has_text=".avi")):
            video = moment.locator("video")
            video.focus()
            page.keyboard.press("Space")
            page.wait_for_function("video => video.currentTime > 0.2", arg=video.element_handle())

        box = page.get_by_label("Describe a scene")
        box.fill("  ")
        box.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "no words" in page.get_by_role("alert").inner_text()
        page.set_viewport_size({"width": 390, "height": 844})
        box.fill("a star")
        box.press("Enter")
        page.locator(".moment").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=pictures / "page_small.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not errors and not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        browser.close()
