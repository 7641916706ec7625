"""Tests that need more than the extra `test` are collected only where it is installed: an environment of their own.

Also the index and server that the tests of the page share.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from importlib.util import find_spec

import av
import pytest

from tests.search.clips import write_shapes

NEEDS = {
    "test_benchmark.py": ("lancedb",),
    "test_index.py": ("lancedb",),
    "test_notebooks.py": ("lancedb", "nbclient", "nbformat"),
    "test_object_store.py": ("lancedb", "moto"),
    "test_presence.py": ("lancedb",),
    "test_page.py": ("lancedb", "starlette", "uvicorn", "multipart", "httpx2"),
    "test_server.py": ("lancedb", "starlette", "uvicorn", "multipart", "httpx2"),
    "test_api.py": ("lancedb", "starlette", "uvicorn", "multipart"),
    "test_guards.py": ("starlette", "httpx2"),
    "test_visit.py": ("lancedb", "starlette", "uvicorn", "multipart", "playwright", "axe_playwright_python"),
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
    import uvicorn

    from eaglenet_jax.search.commands.serve import _listen
    from eaglenet_jax.search.page.app import make_app

    with _listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(make_app(answers), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


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
