"""The doctor on parts of files, on captions that are the same, and on flags that it would not use."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep import build as build_command
from data_prep import doctor as doctor_command
from data_prep.cache import decode_entry, read_record
from eaglenet_jax.errors import UserError
from tests.data_prep.conftest import WriteVideo

LOUD, SECONDS, RATE = 4, 16, 10  # seconds of noise, then of one colour


@pytest.fixture
def film(tmp_path: Path, write_video: WriteVideo) -> Path:
    """A folder with a file of 16 seconds, the pictures of the first four of which are large as JPEG."""
    (tmp_path / "videos").mkdir()
    pictures = np.full((SECONDS * RATE, 48, 64, 3), 128, np.uint8)
    pictures[: LOUD * RATE] = np.random.default_rng(0).integers(0, 256, (LOUD * RATE, 48, 64, 3))
    write_video(tmp_path / "videos/film.mp4", pictures, RATE)
    return tmp_path


def flags(folder: Path) -> list[str]:
    places = {"annotations": folder / "t.csv", "videos": folder / "videos", "out": folder / "prepared"}
    return ["--dataset=table", *(f"--{name}={path}" for name, path in places.items()), "--workers=1", "--size=32"]


def doctor(folder: Path, rows: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    (folder / "t.csv").write_text("\n".join(["video,caption,start,end,split", *rows]) + "\n")
    capsys.readouterr()
    doctor_command.main([*flags(folder), "--json"])
    return json.loads(capsys.readouterr().out)


def said(found: dict) -> list[str]:
    return [f"{finding['split']}: {finding['what']}" for finding in found["findings"]]


@pytest.mark.parametrize("shift", [0, 0.3])
def test_parts_of_a_file_cost_what_they_are_and_not_the_whole_file(film, capsys, shift) -> None:
    splits = ["train"] * 8 + ["val", "test"]
    rows = [f"film,text {i},{i + shift},{i + 1 + shift},{split}" for i, split in enumerate(splits, LOUD + 1)]
    found = doctor(film, rows, capsys)
    estimate = found["estimate"]
    assert estimate["frames"] == 10 and estimate["video_hours"] == pytest.approx(10 / 3600)
    assert {state["too_short"] for state in found["splits"].values()} == {0}
    assert build_command.main([*flags(film), "--strict"]) == 0
    records = [read_record(path) for path in (film / "prepared/cache").rglob("*.frames")]
    stored = [len(frame) for record in records for frame in record.frames]
    assert len(stored) == 10 and estimate["bytes_needed"] == pytest.approx(2 * sum(stored), rel=0.02)


def test_the_time_of_building_grows_with_what_is_read_and_a_part_may_have_no_end(film, capsys, monkeypatch) -> None:
    """A file is read from its start to the end of the part; decoding a second of it takes one second here."""
    now = [0.0]

    def decoded(entry, settings):
        assert entry.clip is not None
        now[0] += SECONDS if entry.clip[1] is None else entry.clip[1]
        return decode_entry(entry, settings)

    monkeypatch.setattr("data_prep.examination.decode_entry", decoded)
    monkeypatch.setattr("data_prep.examination.time", SimpleNamespace(perf_counter=lambda: now[0]))
    ends = [*range(2, 16), ""]
    rows = [f"film,text {end},1,{end},{'train' if end else 'val'}" for end in ends] + ["film,text,5,6,test"]
    estimate = doctor(film, rows, capsys)["estimate"]
    lengths = [end - 1 for end in range(2, 16)] + [SECONDS - 1, 1]
    assert estimate["video_hours"] == pytest.approx(sum(lengths) / 3600) and estimate["frames"] == sum(lengths)
    assert estimate["seconds"] == pytest.approx(sum(range(2, 16)) + SECONDS + 6)


def test_short_parts_and_parts_behind_the_end_are_told(film, capsys) -> None:
    rows = ["film,one,2,2.5,train", "film,two,0,9,val", f"film,three,{SECONDS + 1},{SECONDS + 2},test"]
    found = doctor(film, rows, capsys)
    assert [found["splits"][split]["too_short"] for split in ("train", "val", "test")] == [1, 0, 0]
    assert "train: 1 video of one frame only" in said(found) and not found["is_sound"]
    assert "test: 1 video whose part begins at or after the stated end of the file" in said(found)
    assert build_command.main(flags(film)) == 0
    assert "test: LEFT OUT 1 video" in capsys.readouterr().out


def test_captions_that_differ_in_case_and_spaces_are_the_same(film, capsys) -> None:
    rows = ["film,A dog  runs,0,2,test", "film,a dog RUNS ,2,4,test", "film,a dog,4,6,test", "film,x,6,8,train"]
    found = doctor(film, [*rows, "film,y,8,10,val"], capsys)
    assert found["facts"]["groups of identical captions in test"] == 1
    (shared,) = [each for each in found["findings"] if "which no system can distinguish" in each["what"]]
    assert shared["what"].startswith("1 caption of two or more videos") and shared["ids"] == ["A dog  runs"]
    (film / "t.csv").write_text("video,caption,split\nfilm,a dog,test\nfilm,A dog,test\n")  # of one video
    doctor_command.main([*flags(film), "--json"])
    assert json.loads(capsys.readouterr().out)["facts"]["groups of identical captions in test"] == 0


@pytest.mark.parametrize(
    "flag",
    [
        *("--dataset=msrvtt", "--annotations=x", "--videos=x", "--columns=video=x", "--variant=x", "--no-hold-out"),
        *("--size=224", "--released_frames", "--workers=2"),
    ],
)
def test_single_files_refuse_the_flags_of_datasets(film, flag, monkeypatch) -> None:
    monkeypatch.chdir(film)
    file = f"--video={film / 'videos/film.mp4'}"
    name = flag.partition("=")[0].replace("_", "-")
    with pytest.raises(UserError, match=f"^{name} cannot be used here: --video reads single files.*; leave it out"):
        doctor_command.main([file, flag])
    with pytest.raises(UserError, match=r"^--size, --workers cannot .* leave them out"):
        doctor_command.main([file, "--workers=1", "--size=2", "--fps=1"])
    assert not (film / "film.mp4.png").exists()
