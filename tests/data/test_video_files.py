from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.datasets import DATASETS
from eaglenet_jax.data.video_files import VideoFolder, stem
from eaglenet_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("video7.mp4", "video7"),
        ("4@N1_5.", "4@N1_5"),
        ("4@N1_5", "4@N1_5"),
        ("a.mov.MP4", "a"),
        ("x.null", "x"),
        ("0001_Film_00.00.51.926-00.00.54.129.avi", "0001_Film_00.00.51.926-00.00.54.129"),
        ("0001_Film_00.00.51.926-00.00.54.129", "0001_Film_00.00.51.926-00.00.54.129"),
        ("video7.mp4.part", "video7.mp4.part"),
        ("notes.txt", "notes.txt"),
        (".mp4", ".mp4"),
    ],
)
def test_stems(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_activitynet_files_go_by_two_names() -> None:
    assert DATASETS["activitynet"].file_stems("v_abc") == ("v_abc", "abc")
    assert DATASETS["msvd"].file_stems("v_abc") == ("v_abc",)


def test_files_are_found_in_subfolders_and_under_any_suffix(tmp_path: Path) -> None:
    for name in ("film/a.avi", "b.webm", "b.mp4", ".hidden/c.mp4", ".d.mp4", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "film/loop").symlink_to(tmp_path)
    folder = VideoFolder(tmp_path)
    assert folder.find(["a"]) == (tmp_path / "film/a.avi",)
    assert folder.find(["v_b", "b"]) == (tmp_path / "b.mp4", tmp_path / "b.webm")
    assert folder.find(["c"]) == folder.find(["d"]) == folder.find(["e"]) == ()
    with pytest.raises(UserError, match="there is no folder"):
        VideoFolder(tmp_path / "absent")


def test_a_folder_that_cannot_be_read_is_named_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lost+found/a.mp4", "b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def refuse(place: str) -> object:
        if str(place).endswith("lost+found"):  # the tests may run as root, who can read everything
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    folder = VideoFolder(tmp_path)
    assert folder.unreadable == {str(tmp_path / "lost+found"): "Permission denied"} and len(folder.by_stem) == 1
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        VideoFolder(tmp_path / "lost+found")
