from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decode as benchmark
from eaglenet_jax.errors import UserError
from tests.data_prep.conftest import WriteVideo


@pytest.fixture
def videos(tmp_path: Path, write_video: WriteVideo, counting_pictures: Callable[..., np.ndarray]) -> Path:
    for name, count in (("a.mp4", 35), ("b.mp4", 25)):
        write_video(tmp_path / name, counting_pictures(count), 10)
    (tmp_path / "notes.txt").write_text("no video")
    return tmp_path


def test_without_opencv_it_says_so_and_measures_our_side(
    videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert benchmark.main([f"--videos={videos}", "--json"]) == 0
    printed = capsys.readouterr()
    said, *files = printed.err.splitlines()
    assert said == "OpenCV is not installed: only our side is measured; pip install opencv-python-headless"
    assert files == ["1 of 2: a.mp4", "2 of 2: b.mp4"]
    found = json.loads(printed.out)
    assert found["all"]["videos"] == 2 and found["all"]["frames"] == 7 and "seeking" not in found["all"]
    assert [row["file"] for row in found["files"]] == ["a.mp4", "b.mp4"]
    assert found["all"]["stored_mb_per_hour"] > 0
    with pytest.raises(UserError, match="matches 'c"):
        benchmark.main([f"--videos={videos}", "--files=c*"])


@pytest.mark.extras
def test_both_sides_see_the_same_frames(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([f"--videos={videos}", "--files=a*", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["all"]["identical_share"] == 1 and found["files"][0]["seeking_frames"] == 4
    assert benchmark.main([f"--videos={videos}"]) == 0
    assert "times_faster" in capsys.readouterr().out
