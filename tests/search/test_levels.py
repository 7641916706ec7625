"""Levels of confidence that an index keeps."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import lancedb
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.search import confidence
from eaglenet_jax.search import index as index_module
from eaglenet_jax.search.commands import query
from eaglenet_jax.search.confidence import Calibration, Levels
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.levels import Measured, has_changed, read_measured, write_measured
from eaglenet_jax.search.moments import Moment
from tests.search.clips import write_shapes

pytestmark = pytest.mark.search
FOUND = Calibration(Levels(0.5, 0.75), Levels(1.0, 2.0), ("a red star",))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """An index of six clips."""
    folder = tmp_path_factory.mktemp("levels")
    write_shapes(folder / "videos", 6)
    index = SearchIndex.create(folder / "index", "demo")
    assert index.add(folder / "videos").new == 6
    return index


def opened(filled, uri):
    index = SearchIndex.open(uri)
    index.__dict__["model"] = filled.model
    return index


@pytest.fixture
def reopen(filled, monkeypatch):
    """reopen() → the index as another process would open it, and the list of its measurements from now on."""
    measured: list[bool] = []

    def calibrate(probe, demo):
        measured.append(demo)
        return FOUND

    monkeypatch.setattr(index_module, "calibrate", calibrate)

    return lambda: (opened(filled, filled.store.uri), measured)


def test_levels_are_measured_once(filled, reopen):
    lancedb.connect(filled.store.uri).drop_table("levels", ignore_missing=True)
    index, measured = reopen()
    assert not index.is_calibrated and index.calibration == FOUND and index.calibration == FOUND
    assert measured == [True]
    again, _ = reopen()
    assert again.is_calibrated and again.calibration == FOUND and measured == [True]


@pytest.mark.parametrize("other", ["how", "rows", "nonsense"])
def test_levels_of_something_else_are_measured_again(filled, reopen, other):
    index, measured = reopen()
    kept = Measured(index.calibration, len(index), index_module.sentences_id(True, index_module.RERANK))
    measured.clear()
    changed = {"how": Measured(kept.calibration, kept.rows, "other"), "rows": Measured(kept.calibration, 99, kept.how)}
    if other == "nonsense":
        lancedb.connect(filled.store.uri).create_table("levels", data=[{"measured": "[]"}], mode="overwrite")
        assert read_measured(filled.store.uri) is None
    else:
        write_measured(filled.store.uri, changed[other])
    index, _ = reopen()
    assert index.calibration == FOUND and measured == [True] and read_measured(filled.store.uri) == kept


def test_levels_that_cannot_be_kept_are_known_to_the_process(filled, reopen, monkeypatch):
    lancedb.connect(filled.store.uri).drop_table("levels", ignore_missing=True)

    def refuse(uri, measured):
        raise UserError("only to be read")

    monkeypatch.setattr(index_module, "write_measured", refuse)
    index, measured = reopen()
    assert [index.calibration, index.calibration] == [FOUND, FOUND] and measured == [True]
    assert read_measured(filled.store.uri) is None and index.unkept == "only to be read"


@pytest.fixture
def shelf(filled, tmp_path):
    """shelf(number) → an index of so many clips that nobody has measured, and their folder."""

    def made(number):
        videos = tmp_path / "videos"
        videos.mkdir(exist_ok=True)
        for clip in sorted(Path(filled.store.uri).with_name("videos").iterdir())[:number]:
            shutil.copy(clip, videos)
        index = opened(filled, tmp_path / "index")
        index.add(videos)
        return index, videos

    SearchIndex.create(tmp_path / "index", "demo")
    return made


@pytest.fixture
def few_sentences(monkeypatch):
    for name in ("SENTENCES", "DEMO_EXAMPLES"):
        monkeypatch.setattr(confidence, name, getattr(confidence, name)[::8])


@pytest.mark.parametrize("away", [6, 3])
def test_levels_without_the_files_of_a_disk_that_is_away_are_not_kept(filled, shelf, few_sentences, away, tmp_path):
    index, videos = shelf(6)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for clip in sorted(videos.iterdir())[:away]:
        clip.rename(hidden / clip.name)
    partial = index.calibration
    assert (partial.cosine is None) == (away == 6) and read_measured(index.store.uri) is None
    assert index.unkept == f"the files of {away} of its 6 rows are not there"
    for clip in hidden.iterdir():
        clip.rename(videos / clip.name)
    assert not index.is_calibrated  # in the same process
    whole = opened(filled, index.store.uri)
    assert not whole.is_calibrated and whole.calibration.is_measured
    assert index.calibration == whole.calibration == read_measured(index.store.uri).calibration


def test_levels_are_kept_where_a_file_or_two_are_gone(filled, shelf, few_sentences):
    index, videos = shelf(6)
    next(videos.iterdir()).unlink()
    assert index.calibration.is_measured and opened(filled, index.store.uri).is_calibrated


def test_an_empty_index_encodes_nothing_and_is_measured_once_filled(shelf, few_sentences, monkeypatch):
    index, _ = shelf(0)
    with monkeypatch.context() as patched:
        patched.setattr(index_module, "probe", lambda *_: pytest.fail("there is nothing to find"))
        assert index.calibration == Calibration(None, None) and index.is_calibrated
    index, _ = shelf(1)
    assert not index.is_calibrated and index.calibration.is_measured


def test_an_index_without_a_head_or_rows_is_kept_as_well(filled):
    none = Measured(Calibration(None, None), 0, "how")
    write_measured(filled.store.uri, none)
    assert read_measured(filled.store.uri) == none
    lancedb.connect(filled.store.uri).drop_table("levels")


def test_a_fifth_more_or_less_is_a_change():
    assert [has_changed(rows, 100) for rows in (79, 80, 120, 121)] == [True, False, False, True]
    assert has_changed(1, 0) and not has_changed(0, 0)


@pytest.fixture
def ask(reopen, monkeypatch, capsys):
    """ask(index, options) → what the command prints, to stdout and to stderr."""

    def asked(index, **more):
        given = {"index": "runs/mine", "checkpoint": None, "text": ["a star"], "video": None, "image": None, "top": 3}
        given |= {"rerank": 0, "windows": False, "json": False, "html": None}
        with monkeypatch.context() as patched:
            patched.setattr(SearchIndex, "open", lambda uri, checkpoint: index)
            assert query.run(argparse.Namespace(**given | more)) == 0
        return capsys.readouterr()

    return asked


def words(said):
    """The words of confidence of the moments that are listed."""
    return [line.split()[2] for line in said.out.splitlines() if ".mp4" in line]


def test_the_command_prints_the_words(filled, reopen, ask, monkeypatch):
    lancedb.connect(filled.store.uri).drop_table("levels", ignore_missing=True)
    scores = [moment.score for moment in filled.query("a star", top=3)]
    one_of_each = Calibration(Levels((scores[1] + scores[2]) / 2, (scores[0] + scores[1]) / 2), None)
    index, _ = reopen()
    monkeypatch.setattr(index_module, "calibrate", lambda probe, demo: one_of_each)
    said = ask(index)
    assert words(said) == ["strong", "possible", "weak"] and "measuring what random sentences" in said.err
    said = ask(reopen()[0])
    assert words(said) == ["strong", "possible", "weak"] and "measur" not in said.err
    lancedb.connect(filled.store.uri).drop_table("levels")


def test_an_index_that_is_only_to_be_read_is_not_said_to_be_measured_once(filled, reopen, ask, monkeypatch):
    lancedb.connect(filled.store.uri).drop_table("levels", ignore_missing=True)

    def refuse(uri, measured):
        raise UserError("only to be read")

    monkeypatch.setattr(index_module, "write_measured", refuse)
    said = ask(reopen()[0], text=["a star", "a circle"])
    assert said.err.count("measuring") == 1
    assert "the levels are not kept in the index (only to be read); the next command may measure again" in said.err


@pytest.mark.parametrize("error", [UserError("the store is away\n"), RuntimeError("out of memory\nat 0x1")])
def test_moments_that_cannot_be_judged_are_printed_all_the_same(filled, reopen, ask, monkeypatch, error):
    lancedb.connect(filled.store.uri).drop_table("levels", ignore_missing=True)

    def fail(probe, demo):
        raise error

    index, _ = reopen()
    monkeypatch.setattr(index_module, "calibrate", fail)
    said = ask(index)
    assert len(words(said)) == 3 and not {"strong", "possible", "weak"} & set(words(said))
    assert said.err.endswith(f"could not be measured: {str(error).splitlines()[0]}\n")


def test_nothing_is_measured_where_nothing_is_found(shelf, ask):
    said = ask(shelf(0)[0])
    assert "the index is empty" in said.out and "measuring" not in said.err


@pytest.mark.parametrize(("number", "line"), [(1, "1 file is gone and left out"), (2, "2 files are gone and left out")])
def test_the_command_says_how_rows_of_files_that_are_gone_are_dropped(shelf, ask, number, line):
    index, videos = shelf(3)
    for clip in sorted(videos.iterdir())[:number]:
        clip.unlink()
    said = ask(index)
    command = "python -m eaglenet_jax.search index --prune --index=runs/mine"
    assert f"{line}; if it is for good, `{command}` drops the rows of all missing files\n" in said.err


def test_weak_answers_say_so_first():
    weak = Moment(1, 0.1, False, "1", "a.mp4", 0.0, 1.0, b"", confidence="weak")
    strong = Moment(2, 0.1, False, "2", "b.mp4", 0.0, 1.0, b"", confidence="strong")
    assert query.as_text([weak]).startswith("  nothing here clearly fits")
    assert query.as_text([strong, weak]).splitlines() == [
        "  2   0.100  strong    b.mp4  0:00.0–0:01.0",
        "  1   0.100  weak      a.mp4  0:00.0–0:01.0",
    ]


def test_a_sentence_is_reranked_unless_that_is_declined(filled, reopen, ask):
    clip = next(iter(filled.store.videos()))["path"]
    index, _ = reopen()
    assert ask(index, rerank=None).out.count("reranked") == 3 and "reranked" not in ask(index, rerank=0).out
    assert "reranked" not in ask(index, rerank=None, text=[], video=clip).out
