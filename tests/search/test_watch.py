"""An index that follows a folder: files that are being written wait, a server sees the rest, Ctrl-C ends it."""

from __future__ import annotations

import argparse
import os
import signal
import time

import pytest
from starlette.testclient import TestClient

from eaglenet_jax.errors import UserError
from eaglenet_jax.search import indexing, watching
from eaglenet_jax.search.adding import Added
from eaglenet_jax.search.commands import index as index_command
from eaglenet_jax.search.commands.index import run
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.app import make_app
from eaglenet_jax.search.watching import Stop, Watch, watch
from tests.search.clips import write_shapes

pytestmark = pytest.mark.search
OLD = 7200.0
COMMAND = {"checkpoint": None, "window": None, "overlap": None, "shots": False, "prune": False, "watch": True}
COMMAND |= {"workers": 1}


@pytest.fixture(autouse=True)
def an_hour_to_rest(monkeypatch):
    """A machine that is busy may take a minute between two lines of a test."""
    monkeypatch.setattr(watching, "RESTED_SECONDS", OLD / 2)


def write(file, content, age=0.0):
    file.write_bytes(content)
    then = time.time() - age
    os.utime(file, (then, then))
    return file


def added(failed=()):
    return Added(1, 0, 0, 0, 1, 0, {str(file): "damaged" for file in failed}, {}, 0.1)


def test_a_file_counts_when_it_has_come_to_rest(tmp_path):
    old = write(tmp_path / "old.mp4", b"a", age=OLD)
    growing = write(tmp_path / "growing.mp4", b"a")
    seen = Watch(tmp_path)
    assert seen.look() and seen.ready(old) and not seen.ready(growing)
    seen.added(added())
    write(growing, b"ab")
    assert not seen.look() and not seen.ready(growing)
    assert seen.look() and seen.ready(growing)
    seen.added(added())
    assert not seen.look()


def test_a_file_that_failed_waits_for_a_change(tmp_path):
    file = write(tmp_path / "a.mp4", b"half", age=OLD)
    seen = Watch(tmp_path)
    assert seen.look() and seen.ready(file)
    seen.added(added([file]))
    write(tmp_path / "b.mp4", b"other", age=OLD)
    assert seen.look() and seen.ready(tmp_path / "b.mp4") and not seen.ready(file)
    seen.added(added())
    write(file, b"whole", age=3 * OLD)
    assert seen.look() and seen.ready(file)


def test_a_file_that_vanished_is_missed_at_the_second_look(tmp_path):
    file = write(tmp_path / "a.mp4", b"a", age=OLD)
    seen = Watch(tmp_path)
    assert seen.look()
    seen.added(added())
    file.rename(tmp_path / "b.mp4")
    write(tmp_path / "b.mp4", b"a")
    assert not seen.look()  # where it has gone to is not at rest
    assert seen.look() and seen.ready(tmp_path / "b.mp4")
    seen.added(added())
    (tmp_path / "b.mp4").unlink()
    assert [seen.look(), seen.look()] == [False, True]


class Steps(Stop):
    """Does one thing in each pause between looks, then interrupts as Ctrl-C does."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.pauses = list(steps), []

    def wait(self, seconds):
        self.pauses.append(seconds)
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


def test_trouble_is_said_once_and_does_not_end_it(tmp_path):
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos" / "a.mp4", b"a", age=OLD)
    calls, said = [], []

    def add(places, ready):
        assert places == [tmp_path / "videos"]
        calls.append(ready(tmp_path / "videos" / "a.mp4"))
        if len(calls) < 3:
            raise UserError("the store cannot be reached")
        return added()

    steps = Steps(
        lambda: None,
        lambda: None,
        lambda: (tmp_path / "videos").rename(tmp_path / "away"),
        lambda: (tmp_path / "away").rename(tmp_path / "videos"),
    )
    done = watch([tmp_path / "videos"], add, said.append, steps)
    assert calls == [True] * 3 and done.counts["new"] == 1
    assert [line.partition(";")[0] for line in said[:1]] == ["the store cannot be reached"]
    assert len(said) == 2 and "videos" in said[1] and min(steps.pauses) >= watching.LOOK_SECONDS


def test_a_place_that_is_away_does_not_hold_up_the_others(tmp_path):
    away, empty, good = (tmp_path / name for name in ("away", "empty", "good"))
    for place in (empty, good):
        place.mkdir()
        write(place / "a.mp4", b"a", age=OLD)
    calls, said = [], []

    def add(places, ready):
        calls.append(list(places))
        if empty in places:
            raise UserError(f"{empty} holds no videos now")
        return added()

    steps = Steps(lambda: write(good / "b.mp4", b"b", age=OLD), lambda: away.mkdir(), lambda: None)
    done = watch([away, empty, good, good], add, said.append, steps)
    assert done.counts["new"] == 2 and calls[:3] == [[empty, good], [empty], [good]]
    assert calls.count([good]) == 2  # not again where nothing is due there
    assert len(said) == 2 and str(away) in said[0] and str(empty) in said[1]


def test_what_an_interrupted_pass_has_finished_is_counted(tmp_path, monkeypatch, capsys):
    videos, index = tmp_path / "videos", tmp_path / "index"
    write_shapes(videos, 3)
    SearchIndex.create(index, "demo")
    encode = indexing._Writing.encode

    def stop(writing, batch):
        encode(writing, batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(indexing._Writing, "encode", stop)
    monkeypatch.setattr(indexing, "BATCH", 2)
    monkeypatch.setattr(indexing, "readers", lambda: 1)  # the first file ends before the second gives a window
    given = argparse.Namespace(**{**COMMAND, "index": str(index), "videos": [str(videos)]})
    assert run(given) == 0
    count = len(SearchIndex.open(index))
    assert count >= 1 and f"{count} new; {count} windows, {count} in {index}" in capsys.readouterr().out
    given.watch = False
    with pytest.raises(KeyboardInterrupt):
        run(given)
    assert "new" in capsys.readouterr().out and len(SearchIndex.open(index)) > count


class Finalized:
    """Receives Ctrl-C in its finalizer, from where no exception gets out."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        list(range(3))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_whose_exception_is_lost_ends_it_as_well(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    steps = Steps(lambda: None, Finalized, lambda: pytest.fail("still watching"))
    monkeypatch.setattr(index_command, "Stop", lambda: steps)
    given = {**COMMAND, "index": str(tmp_path / "index"), "videos": [str(tmp_path)], "checkpoint": "demo"}
    before = signal.getsignal(signal.SIGINT)
    assert run(argparse.Namespace(**given)) == 0
    assert len(steps.pauses) == 2 and "watched for 0:00:0" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_no_lock_and_ends_a_pause_at_once(number, monkeypatch):
    naps, stop = [], Stop()
    handlers = {}
    monkeypatch.setattr(index_command.signal, "signal", lambda number, handler: handlers.setdefault(number, handler))
    monkeypatch.setattr(index_command, "Stop", lambda: stop)

    def interrupted_watch(places, add, say, stop):
        def nap(seconds):
            naps.append(seconds)
            if len(naps) == 3:
                with pytest.raises(KeyboardInterrupt):  # and the exception is lost
                    handlers[number]()

        monkeypatch.setattr(watching.time, "sleep", nap)
        stop.wait(3600.0)
        return watching.Watched()

    monkeypatch.setattr(index_command, "watch", interrupted_watch)
    given = argparse.Namespace(**{**COMMAND, "index": "", "videos": []})
    assert index_command._watch(given, []) == 0
    assert naps == [watching.NAP_SECONDS] * 3


def test_a_server_sees_what_the_command_adds_while_it_watches(tmp_path, monkeypatch, capsys):
    write_shapes(tmp_path / "made", 4)
    first, second, third, fourth = sorted((tmp_path / "made").iterdir())
    videos = tmp_path / "videos"
    videos.mkdir()
    index, half = tmp_path / "index", fourth.read_bytes()
    first.rename(videos / first.name)
    SearchIndex.create(index, "demo")
    page = TestClient(make_app(Answers(SearchIndex.open(index))), base_url="http://127.0.0.1")
    counted = []

    def count(*moves):
        def step():
            counted.append(page.get("/api/status").json()["videos"])
            for move in moves:
                move()

        return step

    steps = Steps(
        count(),
        count(
            lambda: second.rename(videos / second.name),
            lambda: third.rename(videos / third.name),
            lambda: (videos / "last.mp4").write_bytes(half[: len(half) // 2]),
        ),
        count(lambda: (videos / "last.mp4").write_bytes(half), (videos / first.name).unlink),
        count(),
        count(lambda: (videos / second.name).rename(videos / "renamed.mp4")),
        count(),
        count(),
    )
    monkeypatch.setattr(index_command, "Stop", lambda: steps)
    assert run(argparse.Namespace(**{**COMMAND, "index": str(index), "videos": [str(videos)]})) == 0
    said = capsys.readouterr()
    assert counted == [0, 1, 1, 2, 3, 3, 3]
    assert set(SearchIndex.open(index).store.files("/")) == {
        str(videos / n) for n in ("renamed.mp4", third.name, "last.mp4")
    }
    *passes, last = said.out.splitlines()
    assert len(passes) == 4 and "could not be read" not in said.out
    assert "4 new" in last and "1 moved" in last and "1 dropped" in last and f"3 in {index}" in last
