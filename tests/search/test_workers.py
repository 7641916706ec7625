"""Several processes that index together: one is killed in the middle, and the index is that of one process."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO_MODEL
from eaglenet_jax.search import adding, indexing, reading, workers
from eaglenet_jax.search.files import file_state
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.indexing import Tally, ToDo
from eaglenet_jax.search.store import Store
from tests.search.clips import write_shapes

pytestmark = pytest.mark.search
REAL_WORK = workers._work


class Heard:
    """A report that only remembers, and does something once files are settled."""

    def __init__(self, on_settled=lambda tally: None):
        self.tally, self.lines, self._on_settled = Tally(), [], on_settled

    def reached(self, file, share, seconds): ...

    def finished(self, file, trouble): ...

    def trouble(self, file, what):
        self.lines.append(what)

    def say(self, line):
        self.lines.append(line)

    def settled(self, tally):
        self.tally.add(tally)
        self._on_settled(self.tally)


def work_slowly(connection, uri, checkpoint, todo):
    """A process that commits every batch and takes its time for each file."""
    indexing.COMMIT_SECONDS, indexing.BATCH = 0.0, 1
    read = reading.read_file

    def slowly(*arguments):
        yield from read(*arguments)
        time.sleep(0.2)

    reading.read_file = slowly
    REAL_WORK(connection, uri, checkpoint, todo)


def ordered(index):
    table = index.store._table.search().limit(None).to_arrow().to_pylist()
    return sorted(table, key=lambda row: row["id"])


def test_with_one_of_two_killed_the_index_is_that_of_one_process(tmp_path, monkeypatch):
    write_shapes(tmp_path / "videos", 16)
    alone = SearchIndex.create(tmp_path / "alone", "demo")
    assert alone.add(tmp_path / "videos").new == 16
    together = SearchIndex.create(tmp_path / "together", "demo")
    killed = []

    def kill_one(tally):
        if len(tally.finished) >= 3 and not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    heard = Heard(kill_one)
    monkeypatch.setattr(workers, "_work", work_slowly)
    files = sorted((tmp_path / "videos").iterdir())
    workers.index_in_processes(together.store, str(DEMO_MODEL), ToDo(files, sharers=2), heard)
    assert len(killed) == 1 and heard.lines[0] == "a process was killed (signal 9); others take its files"
    found, expected = ordered(together), ordered(alone)
    assert len(found) == len(expected) == 16 and not heard.tally.failed
    # A file that was committed when its process was killed may not have been told of.
    assert {row["path"] for row in expected} >= heard.tally.finished and len(heard.tally.finished) >= 14
    for row, other in zip(found, expected, strict=True):
        for name in row:
            if name in ("pooled", "frames"):
                np.testing.assert_allclose(row[name], other[name], atol=2e-3)
            else:
                assert row[name] == other[name], name


def end_at_once(connection, uri, checkpoint, todo):
    os.kill(os.getpid(), signal.SIGKILL)


def complain(connection, uri, checkpoint, todo):
    connection.send(("error", ("no model there",)))


def test_how_a_process_ended_is_said():
    assert workers._ending(-9) == "was killed (signal 9)" and workers._ending(3) == "ended unexpectedly (exit code 3)"


@pytest.mark.parametrize(("work", "message"), [(end_at_once, "3 processes ended"), (complain, "no model there")])
def test_processes_that_cannot_work_end_the_command(tmp_path, monkeypatch, work, message):
    index = SearchIndex.create(tmp_path / "index", "demo")
    monkeypatch.setattr(workers, "_work", work)
    monkeypatch.setattr(workers, "MOST_DEATHS", 2)
    with pytest.raises(UserError, match=message):
        workers.index_in_processes(index.store, "", ToDo([tmp_path / "a.mp4", tmp_path / "b.mp4"], sharers=2), Heard())
    assert not multiprocessing.active_children()


def test_with_several_processes_this_one_opens_no_model(tmp_path, monkeypatch):
    write_shapes(tmp_path / "videos", 2)
    SearchIndex.create(tmp_path / "index", "demo")
    asked = []
    monkeypatch.setattr(adding, "index_in_processes", lambda store, checkpoint, todo, report: asked.append(todo))
    index = SearchIndex.open(tmp_path / "index")
    index.add(tmp_path / "videos", workers=3)
    assert "model" not in vars(index) and [todo.sharers for todo in asked] == [2]


def test_files_are_added_by_name_and_nothing_else_is_looked_at(tmp_path):
    write_shapes(tmp_path / "videos", 3)
    first, second, third = sorted((tmp_path / "videos").iterdir())
    index = SearchIndex.create(tmp_path / "index", "demo")
    assert index.add_files([first, second]).new == 2
    first.unlink()
    second.write_bytes(third.read_bytes())
    (tmp_path / "text.mp4").write_text("no video")
    added = index.add_files([second, third, third, tmp_path / "text.mp4"])
    assert (added.new, added.changed, added.unchanged, added.dropped) == (1, 1, 0, 0)
    assert list(added.failed) == [str(tmp_path / "text.mp4")]
    states = index.store.files("/")
    assert states.keys() == {str(first), str(second), str(third)}  # `add` drops what is gone
    assert states[str(second)] == [file_state(second)]
    assert index.add_files([second, third]).unchanged == 2
    (tmp_path / "videos").rename(tmp_path / "away")  # as a disk that is not there now: nothing is lost
    missing = index.add_files([second, third])
    assert missing.dropped == 0 and len(missing.failed) == 2 and index.store.files("/").keys() == states.keys()


def test_two_threads_of_a_program_share_files(tmp_path):
    write_shapes(tmp_path / "videos", 6)
    uri = tmp_path / "index"
    SearchIndex.create(uri, "demo").add_files([])
    model = SearchIndex.open(uri).model
    heard = [Heard(), Heard()]
    todo = ToDo(sorted((tmp_path / "videos").iterdir()), sharers=2)
    share = [
        threading.Thread(target=functools.partial(indexing.index_files, Store.open(str(uri)), model, todo, each))
        for each in heard
    ]
    for thread in share:
        thread.start()
    for thread in share:
        thread.join()
    one, other = (each.tally for each in heard)
    assert len(one.finished | other.finished) == 6 and not one.finished & other.finished
    assert one.elsewhere == other.finished and other.elsewhere == one.finished
