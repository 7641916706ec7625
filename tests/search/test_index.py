"""Index and search with LanceDB, from files to moments: changed files, kills, concurrent processes, bad input."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO_MODEL
from eaglenet_jax.search import files
from eaglenet_jax.search.__main__ import main
from eaglenet_jax.search.files import content_hash, file_state
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule
from tests.search.clips import COLORS, write_colours, write_shapes

pytestmark = pytest.mark.search


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return folder, write_shapes(folder, 24)


@pytest.fixture(scope="module")
def index(shapes, tmp_path_factory):
    """An index of all clips, not to be changed."""
    index = SearchIndex.create(tmp_path_factory.mktemp("index") / "shared", "demo")
    added = index.add(shapes[0])
    assert (added.new, added.windows, len(index)) == (24, 24, 24) and not added.failed
    return index


@pytest.fixture
def videos(shapes, tmp_path):
    """A few clips that a test may change."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in list(shapes[1])[:4]:
        shutil.copy(shapes[0] / name, folder)
    return folder


def rows_of(index):
    """(file name, start) of every row, in order: what an index of the same files has in common with another."""
    table = index.store._table.search().select(["path", "start"]).limit(None).to_arrow().to_pylist()
    return sorted((row["path"].rpartition("/")[2], row["start"]) for row in table)


def search(*arguments, **more):
    command = [sys.executable, "-m", "eaglenet_jax.search", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **more)


# Finding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rerank", [0, 24])
def test_the_right_clip_is_among_the_first(index, shapes, rerank):
    found = [
        name in [moment.path.rpartition("/")[2] for moment in index.query(caption, top=3, rerank=rerank)]
        for name, caption in shapes[1].items()
    ]
    assert np.mean(found) >= 0.8


def test_a_clip_finds_itself(index, shapes):
    path = shapes[0] / "test_0003.mp4"
    (best,) = index.query(video=path, top=1, merge=False)
    assert best.path == str(path) and best.score == pytest.approx(1, abs=1e-3)
    assert (best.start, best.rank, best.reranked) == (0, 1, False) and best.thumbnail.startswith(b"\xff\xd8")


def test_an_opened_index_answers_as_the_one_that_made_it(index, shapes):
    caption = next(iter(shapes[1].values()))
    opened = SearchIndex.open(index.store.uri)
    assert opened.query(caption, rerank=10) == index.query(caption, rerank=10)


def test_the_second_query_compiles_nothing(index, shapes):
    import jax

    first, second, third, *_ = shapes[1].values()
    index.query(first, rerank=20)
    compiled = []

    def listener(name, *unused, **more):
        if "compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listener)
    jax.jit(lambda x: x + 1)(np.float32(1))
    assert compiled  # the listener hears
    compiled.clear()
    index.query(second, rerank=20)
    index.query(third, rerank=7, top=3)
    jax.monitoring.unregister_event_duration_listener(listener)
    assert not compiled


def test_exactly_one_query(index):
    for query in ({}, {"text": "a star", "image": "a.png"}):
        with pytest.raises(UserError, match="one query"):
            index.query(**query)


# Changes ------------------------------------------------------------------------------------------------------------


def test_new_changed_and_deleted_files(videos, shapes, tmp_path):
    index = SearchIndex.create(tmp_path / "index", "demo")
    assert index.add(videos).new == 4
    again = index.add(videos)
    assert (again.new, again.changed, again.unchanged, again.windows) == (0, 0, 4, 0)
    first, second, third, fourth = sorted(videos.iterdir())
    first.unlink()
    shutil.copy(shapes[0] / "test_0020.mp4", second)
    shutil.copy(shapes[0] / "test_0021.mp4", videos / "another.mp4")
    os.utime(third, ns=(1, 1))
    added = index.add(videos)
    assert (added.new, added.changed, added.unchanged, added.dropped) == (1, 1, 2, 1)
    assert [name for name, _ in rows_of(index)] == sorted([second.name, third.name, fourth.name, "another.mp4"])
    (best,) = index.query(video=shapes[0] / "test_0020.mp4", top=1)
    assert best.path == str(second)


def test_a_touched_file_is_read_once_more_and_not_again(videos, tmp_path, monkeypatch):
    index = SearchIndex.create(tmp_path / "index", "demo")
    index.add(videos)
    first, second, third, _ = sorted(videos.iterdir())
    read = []
    monkeypatch.setattr(files, "content_hash", lambda file: read.append(file) or content_hash(file))
    for file in (first, second):
        os.utime(file, ns=(5, 5))
    assert [index.add(videos).unchanged for _ in range(2)] == [4, 4] and read == [first, second]
    os.utime(third, ns=(6, 6))
    assert [index.add_files([third, first]).unchanged for _ in range(2)] == [2, 2] and read == [first, second, third]
    assert index.store.files("/") == {str(file): [file_state(file)] for file in videos.iterdir()}
    assert len(index) == 4


def test_other_places_stay_as_they_are(videos, tmp_path):
    other = tmp_path / "videos_too"  # a name that begins as the other's does
    other.mkdir()
    for file in sorted(videos.iterdir())[:2]:
        file.rename(other / file.name)
    index = SearchIndex.create(tmp_path / "index", "demo")
    index.add([videos, other])
    next(other.iterdir()).unlink()
    assert index.add(videos).dropped == 0 and len(index) == 4
    assert index.add(other).dropped == 1 and len(index) == 3
    assert index.add(next(other.iterdir())).unchanged == 1


def test_bad_files_are_reported_and_passed_over(videos, tmp_path):
    (videos / "empty.mp4").touch()
    (videos / "text.avi").write_text("no video")
    whole = next(iter(sorted(videos.glob("test*"))))
    (videos / "half.mp4").write_bytes(whole.read_bytes()[:300])
    index = SearchIndex.create(tmp_path / "index", "demo")
    added = index.add(videos)
    assert added.new == 4 == len(index)
    assert {path.rpartition("/")[2] for path in added.failed} == {"empty.mp4", "text.avi", "half.mp4"}
    assert all(reason for reason in added.failed.values())
    shutil.copy(whole, videos / "empty.mp4")
    assert index.add(videos).new == 1


def test_a_changed_file_that_cannot_be_read_loses_its_rows(videos, tmp_path, capsys):
    index = SearchIndex.create(tmp_path / "index", "demo")
    index.add(videos)
    damaged = sorted(videos.iterdir())[0]
    damaged.write_bytes(b"no video any more")
    added = index.add(videos, progress=True)
    assert (added.dropped, added.changed, added.unchanged, len(index)) == (1, 0, 3, 3)
    assert "dropped" in added.failed[str(damaged)] and "dropped" in capsys.readouterr().err


def test_a_place_by_two_names_is_indexed_once(videos, tmp_path):
    index = SearchIndex.create(tmp_path / "index", "demo")
    assert index.add([videos, videos / ".." / videos.name]).new == 4 == len(index)
    assert index.add(videos / ".." / videos.name).unchanged == 4


def test_features_that_do_not_fit_are_reported(videos, tmp_path, monkeypatch):
    index = SearchIndex.create(tmp_path / "index", "demo")
    encode = type(index.model).encode_windows

    def too_large(model, frames, counts):
        features = encode(model, frames, counts)
        return dataclasses.replace(features, frames=features.frames.at[0].multiply(1e9))

    monkeypatch.setattr(type(index.model), "encode_windows", too_large)
    added = index.add(videos)
    (reason,) = added.failed.values()
    assert "finite" in reason and added.new == 3 == len(index)


def test_long_videos_are_cut_into_windows(tmp_path):
    write_colours(tmp_path / "long.mp4", COLORS, seconds_each=4)
    index = SearchIndex.create(tmp_path / "index", "demo", WindowRule(8, 4))
    index.add(tmp_path / "long.mp4")
    assert rows_of(index) == [("long.mp4", 4.0 * k) for k in range(5)]
    assert len(index.query("a blue square", top=5, merge=False)) == 5
    moments = sorted(index.query("a blue square", top=5), key=lambda moment: moment.start)
    assert all(one.end <= two.start for one, two in itertools.pairwise(moments)) and 1 < len(moments) < 5
    assert any(moment.start % 4 for moment in moments)  # where the frames say, not where windows begin
    cut = SearchIndex.create(tmp_path / "cut", "demo", WindowRule(8, 4, shots=True))
    cut.add(tmp_path / "long.mp4")
    assert [start for _, start in rows_of(cut)] == pytest.approx([4.0 * k for k in range(6)], abs=0.11)


# Two models, two processes, a kill --------------------------------------------------------------------------------


def test_another_model_is_refused(index, tmp_path, videos):
    other = tmp_path / "other"
    shutil.copytree(DEMO_MODEL, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "fps": 1.0}))
    with pytest.raises(UserError, match="model"):
        SearchIndex.open(index.store.uri, other).query("a star")
    with pytest.raises(UserError, match="model"):
        SearchIndex.create(index.store.uri, other)
    with pytest.raises(UserError, match="overlap"):
        SearchIndex.create(index.store.uri, "demo", WindowRule(5, 1))


def test_the_command_refuses_another_model_where_no_file_is_new_too(shapes, index, tmp_path):
    arguments, before = ["index", str(shapes[0]), f"--index={index.store.uri}"], rows_of(index)
    assert main([*arguments, "--checkpoint=demo"]) == 0
    with pytest.raises(UserError, match=r"--checkpoint=.*nope, the model of .*, cannot be opened: there is no"):
        main([*arguments, f"--checkpoint={tmp_path / 'nope'}"])
    assert rows_of(index) == before


def test_a_folder_called_demo_does_not_hide_the_model_of_an_index(index, tmp_path, monkeypatch):
    assert index.store.settings.checkpoint == "demo"
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert SearchIndex.open(index.store.uri).model.source == "demo"


@pytest.mark.parametrize(("message", "said"), [("Retryable commit conflict for version 4", 0), ("disk is full", 1)])
def test_only_rivals_keep_a_table_from_being_tidied_in_silence(index, monkeypatch, capsys, message, said):
    def fail():
        raise RuntimeError(message)

    monkeypatch.setattr(index.store._table, "list_indices", fail)
    index.store.tidy()
    assert capsys.readouterr().err.count("\n") == said


@pytest.mark.parametrize("limit", [1, 7, 300])
def test_an_answer_is_refined_from_a_thousand_rows_or_more(index, monkeypatch, limit):
    from lancedb.query import LanceVectorQueryBuilder

    factors = []
    refine = LanceVectorQueryBuilder.refine_factor
    monkeypatch.setattr(
        LanceVectorQueryBuilder, "refine_factor", lambda query, factor: factors.append(factor) or refine(query, factor)
    )
    index.store.nearest(np.ones(index.model.width), limit)
    assert factors[0] * limit >= 1000 and factors[0] >= 10


def test_a_foreign_table_is_refused_as_index(tmp_path):
    import lancedb
    import pyarrow as pa

    with pytest.raises(UserError, match="no index"):
        SearchIndex.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no index"):
        SearchIndex.open(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file is a file; give the folder of an index as --index"):
        main(["index", str(tmp_path), f"--index={tmp_path / 'file'}", "--checkpoint=demo"])
    lancedb.connect(tmp_path / "foreign").create_table("windows", pa.table({"id": ["a"]}))
    with pytest.raises(UserError, match="no index"):
        Store.open(str(tmp_path / "foreign"))


def test_the_default_model_cannot_be_fetched(tmp_path, videos):
    with pytest.raises(UserError, match=r"^openai/.* no such folder, .*; --checkpoint=demo needs no download"):
        main(["index", str(videos), f"--index={tmp_path / 'index'}"])
    with pytest.raises(UserError, match=r"^windows of 0 s cannot be cut"):
        main(["index", str(videos), f"--index={tmp_path / 'index'}", "--window=0"])


COMMIT_OFTEN = """
import sys, time
from eaglenet_jax.search import indexing, reading
from eaglenet_jax.search.__main__ import main
indexing.COMMIT_SECONDS, indexing.BATCH = 0.0, 2
read = reading.read_file
def slowly(*arguments):
    yield from read(*arguments)
    time.sleep(float(sys.argv[1]))
reading.read_file = slowly
sys.exit(main(sys.argv[2:]))
"""


def start(pause, *arguments):
    command = [sys.executable, "-c", COMMIT_OFTEN, str(pause), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_process_leaves_whole_files_and_another_continues(shapes, index, tmp_path):
    uri = tmp_path / "index"
    SearchIndex.create(uri, "demo")
    for _ in range(2):
        process = start(0.15, "index", shapes[0], f"--index={uri}")
        before = len(Store.open(str(uri)))
        deadline = time.monotonic() + 120
        while len(Store.open(str(uri))) < before + 4 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    killed = SearchIndex.open(uri)
    there = len(killed)
    assert 8 <= there < 24
    added = killed.add(shapes[0])
    assert (added.new, added.unchanged) == (24 - there, there)
    assert rows_of(killed) == rows_of(index)


def test_two_processes_at_once(shapes, index, tmp_path):
    uri = tmp_path / "index"
    # Nothing is there yet: both make the index as well.
    processes = [start(0.0, "index", shapes[0], f"--index={uri}", "--checkpoint=demo") for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert rows_of(SearchIndex.open(uri)) == rows_of(index)


# The command --------------------------------------------------------------------------------------------------------


def test_commands_of_a_first_session(shapes, videos, tmp_path):
    uri, page = tmp_path / "index", tmp_path / "found.html"
    (videos / "bad.mp4").write_text("no video")
    made = search("index", videos, f"--index={uri}", "--checkpoint=demo")
    assert made.returncode == 0 and "4 new" in made.stdout and "1 could not be read" in made.stdout, made.stderr
    assert made.stderr.count("bad.mp4") == 1
    caption = shapes[1]["test_0000.mp4"]
    asked = search("query", caption, "a star", f"--index={uri}", "--rerank=4", "--json", f"--html={page}")
    answer = json.loads(asked.stdout)
    assert [query["query"] for query in answer["queries"]] == [caption, "a star"]
    best = answer["queries"][0]["results"][0]
    assert best["rank"] == 1 and best["reranked"] and len(best["weights"]) == len(best["times"]) <= 12
    assert page.read_text().count("<video") == 8
    for arguments, message in [
        (["query", f"--index={uri}"], "nothing to search for"),
        (["query", "a star", f"--index={tmp_path}/none"], "no index"),
        (["query", "a star", f"--index={uri}", "--checkpoint=/nowhere"], "cannot be opened"),
        (["index", videos, f"--index={uri}", "--window=3"], "was made with"),
        (["index", tmp_path / "nothing", f"--index={uri}"], "nothing"),
    ]:
        failed = search(*arguments)
        assert failed.returncode == 1 and message in failed.stderr and failed.stderr.count("\n") == 1, failed.stderr


@pytest.mark.slow
def test_the_demo_says_how_sure_it_is_as_its_page_does(tmp_path):
    result = search("demo", f"--out={tmp_path}", "--clips=12")
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"its own clip, test_\d+, is (at rank \d; seen from|not among)", result.stdout)) == 3
    page = (tmp_path / "results.html").read_text()
    listed = [re.search(r"  (strong|possible|weak) ", line) for line in result.stdout.splitlines() if ".mp4  " in line]
    assert len(listed) == 15 and all(listed)
    for word in ("strong", "possible", "weak"):
        assert [found[1] for found in listed].count(word) == page.count(f">{word.capitalize()} match<")
