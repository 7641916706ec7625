from __future__ import annotations

import os
from pathlib import Path

import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.files import file_state, find_videos, make_plan


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "videos"
    (place / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b.MKV", "deep/c.avi"):
        (place / name).write_bytes(name.encode())
    (place / "notes.txt").write_text("no video")
    (place / ".hidden.mp4").write_bytes(b"hidden")
    return place


def indexed(files):
    return {str(file): [file_state(file)] for file in files}


def test_videos_are_found_by_suffix_at_any_depth(folder):
    assert [file.name for file in find_videos(folder).files] == ["a.mp4", "b.MKV", "c.avi"]
    assert find_videos(folder).passed == {".txt": 1}
    assert find_videos(folder / "a.mp4").files == (folder / "a.mp4",)
    with pytest.raises(UserError, match="no"):
        find_videos(folder / "nothing")


def test_new_changed_and_deleted_files(folder):
    files = find_videos(folder).files
    state = indexed(files[:2])
    (folder / "b.MKV").write_bytes(b"longer than before")
    state[str(folder / "gone.mp4")] = state[str(files[0])]
    plan = make_plan(folder, files, state)
    assert (plan.new, plan.changed, plan.unchanged) == ((files[2],), (files[1],), (files[0],))
    assert plan.gone == (str(folder / "gone.mp4"),) and not plan.replaced


def test_files_that_a_listing_leaves_out_are_not_gone(folder):
    unlisted = [folder / "notes.txt", folder / ".hidden.mp4"]
    state = indexed([*find_videos(folder).files, *unlisted])
    assert not make_plan(folder, find_videos(folder).files, state).gone
    assert not make_plan(folder, [], indexed(unlisted)).gone
    unlisted[0].unlink()
    assert make_plan(folder, find_videos(folder).files, state).gone == (str(unlisted[0]),)


def test_a_place_has_one_name(folder, monkeypatch):
    files = find_videos(folder).files
    monkeypatch.chdir(folder)
    for place in (folder / "deep" / "..", Path("deep/.."), Path("../videos"), Path(".")):
        assert find_videos(place).files == files
    assert find_videos(Path("deep/../a.mp4")).files == (folder / "a.mp4",)


def test_a_touched_file_is_unchanged_and_one_of_the_same_size_is_not(folder):
    files = find_videos(folder).files
    state = indexed(files)
    os.utime(files[0], ns=(1, 1))
    files[1].write_bytes(b"B.mkv")
    os.utime(files[1], ns=(2, 2))
    plan = make_plan(folder, files, state)
    assert plan.changed == (files[1],) and plan.unchanged == (files[0], files[2])
    assert plan.touched == {str(files[0]): file_state(files[0])} and not plan.replaced


def test_rows_of_an_older_content_are_found(folder):
    (file, *_) = files = find_videos(folder).files
    state = indexed(files)
    current = state[str(file)][0]
    file.write_bytes(b"other content")
    state[str(file)].append(file_state(file))
    plan = make_plan(folder, files, state)
    assert not plan.changed and plan.replaced == {str(file): state[str(file)][1].hash} != {str(file): current.hash}


def test_an_empty_folder_does_not_empty_the_index(folder, tmp_path):
    state = indexed(find_videos(folder).files)
    for path in state:
        os.unlink(path)
    with pytest.raises(UserError, match="disk"):
        make_plan(folder, [], state)
    assert make_plan(folder, [], {}).new == ()
