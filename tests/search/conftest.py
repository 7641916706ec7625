"""Tests that need more than the extra `test` are collected only where it is installed: an environment of their own.

Also the index and server that the tests of the page share.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
from importlib.util import find_spec

import av
import pytest

from tests.search.browsing import serving
from tests.search.clips import write_shapes

IN_BROWSER = ("lancedb", "starlette", "uvicorn", "multipart", "playwright", "axe_playwright_python")
NEEDS = {
    "test_benchmark.py": ("lancedb",),
    "test_claims.py": ("lancedb",),
    "test_index.py": ("lancedb",),
    "test_lance.py": ("lancedb",),
    "test_levels.py": ("lancedb",),
    "test_notebooks.py": ("lancedb", "nbclient", "nbformat"),
    "test_object_store.py": ("lancedb", "moto"),
    "test_presence.py": ("lancedb",),
    "test_previews.py": ("lancedb", "starlette", "multipart", "httpx2"),
    "test_page.py": ("lancedb", "starlette", "uvicorn", "multipart", "httpx2"),
    "test_server.py": ("lancedb", "starlette", "uvicorn", "multipart", "httpx2"),
    "test_api.py": ("lancedb", "starlette", "uvicorn", "multipart"),
    "test_api_fuzz.py": ("lancedb", "starlette", "uvicorn", "multipart", "schemathesis"),
    "test_mcp.py": ("lancedb", "mcp"),
    "test_watch.py": ("lancedb", "starlette", "uvicorn", "multipart", "httpx2"),
    "test_workers.py": ("lancedb",),
    "test_guards.py": ("starlette", "httpx2"),
    "test_page_benchmark.py": IN_BROWSER,
    "test_visit.py": IN_BROWSER,
    "test_queries_in_browser.py": IN_BROWSER,
    "test_player_in_browser.py": IN_BROWSER,
}
collect_ignore = [file for file, packages in NEEDS.items() if not all(map(find_spec, packages))]
EVIL = "<img src=x onerror='document.title=1'>${1+1}.mp4"


@pytest.fixture(scope="session")
def page_index(tmp_path_factory):
    """Index, captions by file name, and folder: six clips, one of them in a format that browsers do not play, one with
    a malicious name.
    """
    from eaglenet_jax.search.index import SearchIndex

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
    (videos / "test_0002.mp4").rename(videos / EVIL)
    index = SearchIndex.create(folder / "index", "demo")
    assert index.add(videos).new == 6
    (folder / "secret.mp4").write_bytes(b"not of the index")
    return index, captions, folder


@pytest.fixture(scope="session")
def answers(page_index):
    """The state of a server that is ready, measured with few sentences."""
    from eaglenet_jax.search import confidence
    from eaglenet_jax.search.page.answers import Answers

    answers = Answers(page_index[0])
    with pytest.MonkeyPatch.context() as patched:
        for name, every in (("SENTENCES", 3), ("DEMO_EXAMPLES", 4)):
            patched.setattr(confidence, name, getattr(confidence, name)[::every])
        answers.get_ready()
    assert answers.waiting is None and answers.measured
    return answers


@pytest.fixture(scope="session")
def address(answers):
    """Address of a server of this process."""
    with serving(answers) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, one a module: the event loop of its interface runs in this thread until it ends, and neither
    a server nor `asyncio.run` starts in a thread with a running loop.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """visit(path, options of the context) → a page. Afterwards: no error, no request to anywhere else."""
    asked, errors, contexts = [], [], []

    def opened(path="/", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors and not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


@pytest.fixture(scope="session")
def ask(address):
    """ask(path, headers, method, body) → status, headers and content; the path is sent as it is."""

    def asked(path, headers=None, method="GET", body=None):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    return asked
