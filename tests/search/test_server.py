"""State of a server: loading, measurements, kept answers; and the commands that serve the page or write one."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
import uvicorn
from starlette.testclient import TestClient

from eaglenet_jax.errors import UserError
from eaglenet_jax.search import index as index_module
from eaglenet_jax.search.commands import query
from eaglenet_jax.search.commands.serve import _listen, run
from eaglenet_jax.search.confidence import Calibration, Levels
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.levels import Measured, write_measured
from eaglenet_jax.search.page import answers as answers_module
from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.app import make_app
from eaglenet_jax.search.page.asked import Asked
from tests.waiting import until

pytestmark = pytest.mark.search


def test_a_first_query_shows_what_it_waits_for(page_index):
    waiting = Answers(page_index[0])
    client = TestClient(make_app(waiting), base_url="http://127.0.0.1")
    page = client.get("/?q=a+star").text
    assert "loading the model" in page and 'http-equiv="refresh"' in page and 'class="card"' not in page
    assert 'http-equiv="refresh"' not in client.get("/").text
    assert client.get("/api/search?q=a").status_code == 503
    assert client.get("/api/status").json()["measuring"]
    waiting.get_ready()
    assert "http-equiv" not in client.get("/?q=a+star").text


def test_kept_answers_have_the_words_of_the_last_measurement(page_index, monkeypatch):
    levels = iter([Levels(-1e9, -1e9), Levels(1e9, 1e9)])
    monkeypatch.setattr(SearchIndex, "calibration", property(lambda index: Calibration(level := next(levels), level)))
    monkeypatch.setattr(Answers, "measure_again", lambda answers: None)
    answers = Answers(page_index[0])
    answers.get_ready()
    assert {moment.confidence for moment in answers.answer(Asked("a star")).moments} == {"strong"}
    answers._measure()
    assert {moment.confidence for moment in answers.answer(Asked("a star")).moments} == {"weak"}


class Broken:
    """An index of which one attribute raises."""

    def __init__(self, index, name, error):
        self._index, self._name, self._error = index, name, error

    def __getattr__(self, name):
        if name == self._name:
            raise self._error
        return getattr(self._index, name)

    def __len__(self):
        return len(self._index)


def test_whatever_goes_wrong_with_the_model_ends_the_waiting(page_index):
    answers = Answers(Broken(page_index[0], "model", RuntimeError("out\nof memory")))
    answers.get_ready()
    assert answers.ready.is_set() and answers.waiting == str(answers.failed)
    assert str(answers.failed) == "loading the model failed: RuntimeError: out of memory"


@pytest.mark.parametrize("error", [UserError("no"), ValueError("no")])
def test_without_a_measurement_queries_are_answered(page_index, error, caplog):
    answers = Answers(Broken(page_index[0], "calibration", error))
    answers.get_ready()
    assert answers.failed is None and not answers.measured and "could not be measured" in caplog.text
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")
    status = client.get("/api/status").json()
    assert not status["measured"] and not status["measuring"]  # nobody need ask again
    page = client.get("/?q=a+star").text
    assert page.count('class="card"') == 6 and "nearest first; how sure this is could not be measured" in page
    assert "in some seconds" not in page and "Strong match" not in page


@pytest.mark.parametrize(("error", "said"), [(UserError("no"), ""), (ValueError("no"), "ValueError: no")])
def test_a_fault_while_asking_for_changes_is_logged_unless_the_user_is_told(
    page_index, error, said, monkeypatch, caplog
):
    monkeypatch.setattr(SearchIndex, "calibration", Calibration(Levels(-1e9, -1e9), None))
    answers = Answers(Broken(page_index[0], "is_calibrated", error))
    answers.get_ready()
    caplog.clear()
    answers.measure_again()
    assert answers.measured and (said in caplog.text if said else not caplog.text)


@pytest.fixture
def small(page_index, tmp_path):
    """An empty index, and the clips of another."""
    index = SearchIndex.create(tmp_path / "index", "demo")
    index.__dict__["model"] = page_index[0].model
    return index, sorted((page_index[2] / "videos").iterdir())


def test_an_index_that_is_filled_while_it_is_served_is_measured(small, monkeypatch):
    index, clips = small
    go, high = threading.Event(), Levels(1e9, 1e9)
    monkeypatch.setattr(index_module, "calibrate", lambda probe, demo: go.wait(60) and Calibration(high, high))
    answers = Answers(index)
    answers.get_ready()
    assert not answers.measured and not answers.measuring
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")
    assert "The index is empty" in client.get("/").text and "0 videos, nearest first (" in client.get("/?q=a").text
    index.add(clips[0])
    assert "Looking for sentences" in client.get("/").text  # it is the first page that starts it
    page = client.get("/?q=xqzzt").text
    assert "1 video, nearest first; how sure this is will be known in some seconds" in page
    go.set()
    until(lambda: answers.measured)
    assert "Nothing here clearly fits" in client.get("/?q=xqzzt").text
    assert "None of the sentences that were tried" in client.get("/").text


def test_what_was_measured_is_compared_with_the_rows_of_that_time(small, tmp_path, monkeypatch):
    index, clips = small
    index.add(clips)
    levels = [Levels(1e9, 1e9), Levels(-1e9, -1e9)]
    write_measured(index.store.uri, Measured(Calibration(levels[0], levels[0]), 5, index._how))
    monkeypatch.setattr(index_module, "calibrate", lambda probe, demo: Calibration(levels[1], levels[1]))
    answers = Answers(index)
    answers.get_ready()
    answers.measure_again()
    assert answers.calibration.cosine == levels[0]  # 6 rows are not much more than 5
    index.add(shutil.copy(clips[0], tmp_path / "another.mp4"))
    answers.answer(Asked("a star"))
    until(lambda: answers.calibration.cosine == levels[1])
    assert answers.answer(Asked("a star")).moments[0].confidence == "strong"


def test_what_another_process_has_measured_is_taken(small, monkeypatch):
    index, clips = small
    index.add(clips[:2])
    low, high = Levels(-1e9, -1e9), Levels(1e9, 1e9)
    monkeypatch.setattr(index_module, "calibrate", lambda probe, demo: Calibration(low, low))
    answers = Answers(index)
    answers.get_ready()
    monkeypatch.setattr(index_module, "calibrate", lambda probe, demo: pytest.fail("it is known"))
    index.add(clips[2])
    write_measured(index.store.uri, Measured(Calibration(high, high), 3, index._how))
    assert answers.answer(Asked("a star")).moments[0].confidence == "weak"


def test_a_measurement_that_failed_is_repeated_after_a_while(page_index, monkeypatch):
    index = Broken(page_index[0], "calibration", ValueError("no"))
    answers = Answers(index)
    answers.get_ready()
    index._name = ""
    low = Levels(-1e9, -1e9)
    monkeypatch.setattr(SearchIndex, "calibration", Calibration(low, low))
    monkeypatch.setattr(SearchIndex, "is_calibrated", False)
    answers.measure_again()
    assert not answers.measuring and not answers.measured
    monkeypatch.setattr(answers_module, "AGAIN_SECONDS", 0.0)
    answers.measure_again()
    until(lambda: answers.measured)


# Commands -----------------------------------------------------------------------------------------------------------


def test_a_page_of_one_file_takes_no_words_from_file_names(page_index, tmp_path, monkeypatch):
    clip = tmp_path / "no one.mp4"
    clip.write_bytes((page_index[2] / "videos" / "test_0000.mp4").read_bytes())
    monkeypatch.setattr(SearchIndex, "open", lambda uri, checkpoint: page_index[0])
    monkeypatch.setattr(SearchIndex, "calibration", Calibration(Levels(-1, -1), None))
    monkeypatch.setattr(SearchIndex, "is_calibrated", True)
    given = {"index": "", "checkpoint": None, "text": ["never a star"], "video": str(clip), "image": None, "top": 2}
    given |= {"rerank": 0, "windows": False, "json": False, "html": str(tmp_path / "found.html")}
    assert query.run(argparse.Namespace(**given)) == 0
    sentence, file = (tmp_path / "found.html").read_text().split("<section>")[1:]
    assert "“never” is not understood" in sentence and sentence.count("Strong match") == 2
    assert "no one.mp4" in file and "not understood" not in file and "Strong match" not in file


def serve(page_index, *arguments):
    command = [sys.executable, "-m", "eaglenet_jax.search", "serve", f"--index={page_index[0].store.uri}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_server_for_others_wants_a_token(page_index):
    with serve(page_index, "--host=0.0.0.0", "--port=0", "--token=secret") as server:
        try:
            (address,) = re.findall(r"(http://127\.0\.0\.1:\d+)/\?token=secret", server.stdout.readline())
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(address, timeout=60)
            request = urllib.request.Request(address, headers={"Authorization": "Bearer secret"})
            with urllib.request.urlopen(request, timeout=60) as page:
                assert b"6 videos" in page.read()
        finally:
            server.terminate()


def test_a_server_whose_model_cannot_be_opened_stops(page_index):
    given = {"index": page_index[0].store.uri, "checkpoint": "/nowhere", "host": "127.0.0.1", "port": 0, "token": None}
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(UserError, match="cannot be opened"):
        run(argparse.Namespace(**given))
    assert re.search(r"http://127\.0\.0\.1:\d+$", said.getvalue().strip())  # no token for this machine


@pytest.mark.parametrize(("host", "shown"), [("::", r"\[::1\]"), ("0.0.0.0", r"127\.0\.0\.1")])
def test_the_address_of_a_server_for_everyone_leads_to_it(page_index, monkeypatch, host, shown):
    reached, said = [], io.StringIO()

    def reach(server, sockets):
        (listening,) = sockets
        to = urllib.parse.urlsplit(said.getvalue().split()[-1])
        with listening, socket.create_connection((to.hostname, to.port), timeout=30):
            reached.append(to.netloc)

    monkeypatch.setattr(uvicorn.Server, "run", reach)
    monkeypatch.setattr(Answers, "get_ready", lambda answers: None)
    given = {"index": page_index[0].store.uri, "checkpoint": None, "host": host, "port": 0, "token": "secret"}
    with contextlib.redirect_stdout(said):
        assert run(argparse.Namespace(**given)) == 0
    assert len(reached) == 1 and re.fullmatch(shown + r":\d+", reached[0])


def test_an_empty_token_is_refused(page_index):
    given = {"index": page_index[0].store.uri, "checkpoint": None, "host": "0.0.0.0", "port": 0, "token": ""}
    with pytest.raises(UserError, match="--token is empty"):
        run(argparse.Namespace(**given))


def test_a_port_that_is_taken_and_an_address_that_is_not_here():
    with _listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="another --host or --port"):
        _listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="cannot listen"):
        _listen("203.0.113.7", 0)
