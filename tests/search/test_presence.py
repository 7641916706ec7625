"""Moved, renamed, vanished and unreadable files of an index: nothing twice, no dead result, nothing left out unsaid."""

from __future__ import annotations

import argparse
import os
import shutil

import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.search import presence
from eaglenet_jax.search.adding import Interrupted
from eaglenet_jax.search.commands.index import run
from eaglenet_jax.search.index import SearchIndex
from tests.search.clips import write_shapes

pytestmark = pytest.mark.search


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Three clips and their index, not to be changed."""
    folder = tmp_path_factory.mktemp("library")
    write_shapes(folder / "videos", 3)
    assert SearchIndex.create(folder / "index", "demo").add(folder / "videos").new == 3
    return folder


@pytest.fixture
def place(library, tmp_path):
    """A copy of them: its index is of paths that are not there, until `videos` is moved to its old name."""
    shutil.copytree(library, tmp_path / "copy")
    return tmp_path / "copy"


def paths_of(index):
    return sorted(index.store.files("/"))


def index_command(index, *videos, **more):
    options = {"checkpoint": None, "window": None, "overlap": None, "shots": False, "prune": False, "watch": False}
    options["workers"] = 1
    return run(argparse.Namespace(index=str(index), videos=[str(video) for video in videos], **{**options, **more}))


def test_a_moved_library_keeps_its_rows_under_its_new_paths(library, place):
    index = SearchIndex.open(place / "index")
    hidden = library.with_name("away")
    library.rename(hidden)
    try:
        assert index.query("a star", top=9) == [] and len(index.gone) == 3  # nothing points at what is gone
        added = index.add(place / "videos")
        assert (added.moved, added.new, added.windows, len(index)) == (3, 0, 0, 3)
        assert paths_of(index) == sorted(map(str, (place / "videos").iterdir()))
        assert len(index.query("a star", top=9)) == 3
        assert index.add(place / "videos").unchanged == 3
    finally:
        hidden.rename(library)


def test_a_renamed_file_is_moved_and_a_copy_is_new(place):
    index = SearchIndex.create(place / "own", "demo")
    index.add(place / "videos")
    first, second, _ = sorted((place / "videos").iterdir())
    before = index.store.rows(str(first))[0]
    first.rename(first.with_name("renamed.mp4"))
    shutil.copy(second, second.with_name("copied.mp4"))
    added = index.add(place / "videos")
    assert (added.moved, added.new, added.dropped, len(index)) == (1, 1, 0, 4)
    (row,) = index.store.rows(str(first.with_name("renamed.mp4")))
    assert row.id != before.id and row.thumbnail == before.thumbnail
    assert (row.pooled == before.pooled).all() and (row.frames == before.frames).all()


def test_prune_drops_what_is_gone_and_nothing_else(library, place, capsys):
    index = SearchIndex.open(place / "index")
    hidden = library.with_name("away")
    library.rename(hidden)
    try:
        shutil.copy(next((place / "videos").iterdir()), place / "one.mp4")
        assert index_command(place / "index", place / "one.mp4", prune=True) == 0
        assert paths_of(index) == [str(place / "one.mp4")]
    finally:
        hidden.rename(library)
    (place / "one.mp4").unlink()
    assert index_command(place / "index", prune=True) == 0 and len(index) == 0
    assert "1 pruned; 0 windows" in capsys.readouterr().out
    with pytest.raises(UserError, match="--prune"):
        index_command(place / "index")


@pytest.mark.parametrize(("moves", "counts"), [(1, (1, 0)), (9, (2, 1))])
def test_an_interrupt_before_the_first_file_is_read_says_what_was_done(place, monkeypatch, moves, counts):
    index = SearchIndex.create(place / "own", "demo")
    index.add(place / "videos")
    first, second, third = sorted((place / "videos").iterdir())
    for file in (first, second):
        file.rename(file.with_name(f"renamed_{file.name}"))
    third.unlink()
    move, left = presence._move, iter(range(moves))

    def interrupted_move(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        move(*arguments)

    def interrupted_touch(states):
        raise KeyboardInterrupt

    monkeypatch.setattr(presence, "_move", interrupted_move)
    monkeypatch.setattr(index.store, "touch", interrupted_touch)
    with pytest.raises(KeyboardInterrupt) as caught:
        index.add(place / "videos")
    assert isinstance(caught.value, Interrupted)
    added = caught.value.added
    assert (added.moved, added.dropped) == counts and (added.new, added.windows) == (0, 0)
    assert len(index) == (2 if added.dropped else 3)


def test_what_is_passed_over_is_said(place, capsys, monkeypatch):
    for name in ("a.gif", "b.gif", "notes.txt", "lost+found/c.mp4"):
        (place / "videos" / name).parent.mkdir(exist_ok=True)
        (place / "videos" / name).write_text("x")
    assert index_command(place / "own", place / "videos" / "a.gif", checkpoint="demo") == 1
    scan = os.scandir

    def refuse(folder="."):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert index_command(place / "own", place / "videos") == 2
    said = capsys.readouterr()
    assert "passed over: 2 .gif" in said.err and "1 .txt" in said.err and "lost+found: Permission denied" in said.err
    assert "3 new" in said.out and "1 folder could not be read" in said.out


def test_the_default_model_is_named_before_it_is_fetched(place, capsys):
    with pytest.raises(UserError, match="cannot be read from the Hugging Face hub") as caught:  # tests are offline
        index_command(place / "another", place / "videos")
    message = str(caught.value)
    assert "--checkpoint=demo" in message and "HF_HUB_OFFLINE is set" in message and len(message) < 350
    assert "\n" not in message and not (place / "another").exists()
    assert capsys.readouterr().err == "model: openai/clip-vit-base-patch32, the default; --checkpoint takes another\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [({"watch": True, "prune": True}, "leave out --prune"), ({"workers": 0}, "--workers=0: give 1 or more")],
)
def test_what_cannot_be_meant_is_refused(place, more, message):
    with pytest.raises(UserError, match=message):
        index_command(place / "index", place / "videos", **more)
