"""The commands fake, doctor and build, on complete and on incomplete folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from data_prep import build as build_command
from data_prep import doctor as doctor_command
from data_prep import fake as fake_command
from data_prep.assemble import assemble
from data_prep.datasets import DATASETS
from data_prep.fake import fake
from data_prep.prepare import read_manifest
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError

VIDEOS = 16


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artificial MSR-VTT. Not to be changed."""
    folder = tmp_path_factory.mktemp("msrvtt")
    fake("msrvtt", folder / "fake", videos=VIDEOS, workers=1, progress=False)
    return folder / "fake"


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "fake")
    return tmp_path / "fake"


def arguments(folder: Path, *more: str, dataset: str = "msrvtt") -> list[str]:
    places = {"annotations": folder / "annotations", "videos": folder / "videos", "out": folder / "prepared"}
    paths = [f"--{name}={path}" for name, path in places.items()]
    return [f"--dataset={dataset}", *paths, "--workers=1", *more]


def build(folder: Path, *more: str) -> dict:
    assert build_command.main(arguments(folder, "--size=16", *more)) == 0
    return json.loads((folder / "prepared/manifest.json").read_text())


def doctor(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = doctor_command.main(arguments(folder, "--size=16", "--json", *more))
    return code, json.loads(capsys.readouterr().out)


def told(found: dict, changing: bool = True) -> str:
    return " | ".join(f"{f['split']}: {f['what']}" for f in found["findings"] if f["changes_results"] == changing)


@pytest.mark.parametrize("name", DATASETS)
def test_every_made_up_dataset_is_read_in_every_variant(name: str, tmp_path: Path) -> None:
    annotations, videos = fake(name, tmp_path / "fake", videos=VIDEOS, workers=1, progress=False)
    for variant in DATASETS[name].variants:
        found = assemble(name, annotations, videos, variant)
        assert set(found.splits) == {"train", "val", "test"} and all(found.splits.values())
        assert all(entry.path.is_file() for entry in found.entries) and found.is_fake
        assert not found.uncaptioned and not found.annotations.absent
        without = assemble(name, annotations, videos, variant, hold_out=False)
        assert ("val" in without.splits) != found.variant.holds_out
        assert len(without.entries) == len(found.entries)


def test_the_command_of_the_readme_draws_with_several_processes(tmp_path: Path) -> None:
    """As a program of its own: functions of `__main__` cannot be sent to the processes that draw."""
    command = [sys.executable, "-m", "data_prep.fake", "--dataset=msrvtt", "--videos=24", "--workers=2"]
    run = subprocess.run([*command, f"--out={tmp_path}"], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((tmp_path / "videos").iterdir())) == 24 and "python -m data_prep.build" in run.stdout


def test_fake_says_what_to_do_next_and_keeps_out_of_other_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--dataset=lsmdc", f"--videos={VIDEOS}", f"--out={tmp_path / 'new'}", "--workers=1"]
    assert fake_command.main(command) == 0
    said = capsys.readouterr().out
    assert "python -m data_prep.doctor --dataset=lsmdc" in said and "python -m data_prep.build --dataset=lsmdc" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "new/videos").rglob("*.avi")}
    assert fake_command.main(command) == 0 and len(before) == VIDEOS
    assert before == {path: path.stat().st_mtime_ns for path in before}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        fake("lsmdc", tmp_path / "full")
    with pytest.raises(UserError, match="give 16 or more"):
        fake("lsmdc", tmp_path / "few", videos=3)


def test_a_sound_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(folder, capsys)
    assert code == 0 and found["is_sound"] and told(found) == ""
    assert found["splits"]["test"] == {
        "expected": 3, "captions": 3, "present": 3, "missing": 0, "undecodable": 0, "too_short": 0
    }  # fmt: skip
    assert found["annotated"] == {"train": 13, "test": 3}
    estimate = found["estimate"]
    assert estimate["frames"] >= VIDEOS and 0 < estimate["bytes_needed"] < estimate["bytes_free"]
    assert doctor_command.main(arguments(folder)) == 0
    assert "sound" in capsys.readouterr().out
    manifest = build(folder)
    said = capsys.readouterr().out
    assert "test: 3 videos, 3 captions" in said and "LEFT OUT" not in said
    assert manifest["variant"] == "1ka-9k" and manifest["held_out"] and manifest["is_fake"]
    assert {split: set(states.values()) for split, states in manifest["states"].items()} == {
        split: {"complete"} for split in ("train", "val", "test")
    }
    assert sum(len(states) for states in manifest["states"].values()) == VIDEOS
    prepared = PreparedDataset.open(folder / "prepared")
    assert len(prepared.split("test").queries("all")) == 3
    assert len(prepared.split("val").queries("all")) == 20 * len(manifest["states"]["val"])
    report = (folder / "prepared/report.md").read_text()
    assert "| test | 3 | 3 | 0 | 0 | 3 |" in report and "Not the dataset" in report
    times = {path: path.stat().st_mtime_ns for path in (folder / "prepared").rglob("*") if path.is_file()}
    build(folder)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    capsys.readouterr()
    manifest = build(folder, "--size=32")
    said = capsys.readouterr().out
    assert f"{folder / 'prepared'} holds other frames, which are replaced: size 16 → 32\n" in said
    assert manifest["settings"]["size"] == 32
    build(folder, "--size=32", "--released-frames")
    assert "holds other frames, which are replaced: frames as released\n" in capsys.readouterr().out


def test_a_folder_of_an_earlier_version_gets_a_new_manifest_without_decoding(folder: Path) -> None:
    manifest = build(folder)
    earlier = {name: manifest[name] for name in ("format", "dataset", "settings", "splits", "failed", "fingerprint")}
    (folder / "prepared/manifest.json").write_text(json.dumps(earlier))
    assert PreparedDataset.open(folder / "prepared").split("test").video_ids
    cached = {path: path.stat().st_mtime_ns for path in (folder / "prepared/cache").rglob("*.frames")}
    assert build(folder) == manifest
    assert len(cached) == VIDEOS and cached == {path: path.stat().st_mtime_ns for path in cached}


def test_missing_and_damaged_videos_are_reported_left_out_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = [video.video_id for video in assemble("msrvtt", folder / "annotations", folder / "videos").splits["test"]]
    (folder / f"videos/{test[0]}.mp4").unlink()
    (folder / f"videos/{test[1]}.mp4").write_bytes(b"")
    (folder / "videos/holiday.mp4").write_bytes(b"")
    train = [video.video_id for video in assemble("msrvtt", folder / "annotations", folder / "videos").splits["train"]]
    (folder / f"videos/{train[0]}.mp4").unlink()
    shutil.copy(folder / f"videos/{train[1]}.mp4", folder / f"videos/{train[1]}.webm")
    again = assemble("msrvtt", folder / "annotations", folder / "videos")
    assert {len(files) for files in again.several_files.values()} == {2}
    assert [e.path.suffix for e in again.entries if e.video_id == train[1]] == [".mp4"]
    code, found = doctor(folder, capsys)
    assert code == 1 and not found["is_sound"]
    state = found["splits"]["test"]
    assert (state["present"], state["missing"], state["undecodable"]) == (2, 1, 1)
    assert "test: 1 missing video" in told(found) and "test: 1 video cannot be decoded" in told(found)
    notes = told(found, changing=False)
    assert "1 video file of no video of these splits" in notes and "1 video with several files" in notes
    with pytest.raises(UserError, match=rf"2 of {VIDEOS} videos .* {test[0]} at"):
        build(folder, "--strict")
    manifest = build(folder)
    assert "test: LEFT OUT 2 videos with 2 captions" in capsys.readouterr().out
    assert manifest["left_out"] == {"train": {"videos": 1, "captions": 20}, "test": {"videos": 2, "captions": 2}}
    assert manifest["states"]["test"][test[0]].startswith("left out: no file at")
    assert manifest["states"]["test"][test[1]].startswith("left out: Invalid data")
    report = (folder / "prepared/report.md").read_text()
    assert "| test | 3 | 1 | 2 | 0 | 1 |" in report and f"- test {test[0]}: left out" in report


def test_a_video_that_lost_a_part_is_named_when_it_is_built(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = assemble("msrvtt", folder / "annotations", folder / "videos").splits["test"][0].video_id
    whole = folder / f"videos/{test}.mp4"
    with av.open(str(whole)) as source, av.open(str(folder / f"videos/{test}.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    whole.unlink()
    content = (folder / f"videos/{test}.mkv").read_bytes()
    (folder / f"videos/{test}.mkv").write_bytes(content[: len(content) * 2 // 3])
    build(folder)
    assert f"1 video with a part lost, used as far as it goes: {test} (the file ends at" in (capsys.readouterr().out)


def test_a_folder_without_any_of_the_videos_is_asked_about(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "videos").rename(folder / "elsewhere")
    (folder / "videos").mkdir()
    code, found = doctor(folder, capsys)
    assert code == 1 and f"none of the videos is in {folder / 'videos'}: is it the right --videos?" in told(found)


def test_each_finding_that_changes_results_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "annotations/made_by_data_prep_fake.txt").unlink()
    code, found = doctor(folder, capsys)
    assert code == 1 and "test: 3 videos in the annotations, the complete files have 1000" in told(found)
    lines = (folder / "annotations/MSRVTT_JSFUSION_test.csv").read_text().splitlines()
    first, second = (line.split(",") for line in lines[1:3])
    second[-1] = first[-1]
    train = (folder / "annotations/MSRVTT_train.9k.csv").read_text()
    (folder / "annotations/MSRVTT_JSFUSION_test.csv").write_text("\n".join([lines[0], lines[1], ",".join(second)]))
    (folder / "annotations/MSRVTT_train.9k.csv").write_text(train + f"{first[2]}\nvideo0\nvideo9999\n")
    code, found = doctor(folder, capsys, "--no-hold-out")
    assert "train: 1 id listed more than once" in told(found)
    assert "1 video in train and in test; build refuses that" in told(found)
    assert "train: 1 listed video without a caption" in told(found)
    assert "test: 1 caption of two or more videos" in told(found, changing=False)
    assert found["facts"]["groups of identical captions in test"] == 1
    with pytest.raises(UserError, match=r"1 video in several splits: .* Give each video one split"):
        build(folder)
    assert read_manifest(folder / "prepared") is None
    (folder / "annotations/MSRVTT_train.9k.csv").unlink()
    assert "train: no MSRVTT_train.9k.csv" in told(doctor(folder, capsys)[1])


def test_senseless_numbers_are_refused(folder: Path) -> None:
    for flag in ("--fps=0", "--size=-1", "--workers=0", "--fps=nan"):
        with pytest.raises(UserError, match=flag.split("=")[0]):
            build_command.main(arguments(folder, flag))


def test_data_that_are_too_few_to_train_on_are_not_offered_for_training(
    tmp_path, write_video, counting_pictures, capsys
) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/b.mp4", counting_pictures(60))
    (tmp_path / "t.csv").write_text("file,text\nb.mp4,one\n")
    flags = [f"--annotations={tmp_path / 't.csv'}", f"--videos={tmp_path / 'videos'}", f"--out={tmp_path / 'out'}"]
    assert build_command.main(["--dataset=table", *flags, "--workers=1", "--size=48"]) == 0
    printed = capsys.readouterr().out
    assert "not enough to train: no video of val is left; add videos" in printed and "train with" not in printed


def test_a_file_named_by_another_way_to_it_is_used(tmp_path, monkeypatch) -> None:
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        (tmp_path / name).touch()
    table = tmp_path / "t.csv"
    table.write_text(f"video,caption\n{tmp_path / 'a.mp4'},a dog\n")
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in assemble("table", table, Path(".")).unused] == ["b.mp4"]


def test_flags_that_would_be_ignored_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^--workers cannot be used here: with --beam .*; leave it out$"):
        build_command.main(arguments(folder, "--beam=--runner=DirectRunner"))
    assert not (folder / "prepared").exists()


def test_fake_refuses_senseless_numbers_before_it_writes(tmp_path: Path) -> None:
    for flag in ("--workers=-1", "--workers=0", "--seed=-1"):
        with pytest.raises(UserError, match=f"{flag.split('=')[0]} is .*; give . or more"):
            fake_command.main(["--dataset=msrvtt", "--videos=24", f"--out={tmp_path / 'new'}", flag])
    assert not (tmp_path / "new").exists()
