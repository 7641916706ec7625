"""The clock of a dataset's videos: parts and intervals on the player's clock, and rates that vary."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import build as build_command
from data_prep import doctor as doctor_command
from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, record_path, write_record
from data_prep.picture_times import picture_times
from data_prep.prepare import Decoding, prepare
from data_prep.probe import probe
from eaglenet_jax.data.decode import decode
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.video_source import VideoSource
from tests.videos.make import Clip, damage_packet, number_of, write

LATE = Clip(40, 10, start=3, sound=8)  # pictures from 3 to 7 s, sound from 0 to 8 s
SLIDES = Clip(3, 1, times=[0, 20, 45], key_every=1, sound=50)
VARYING = [*np.arange(20) / 10, *np.arange(2, 6, 0.5), *np.arange(6, 8, 0.1)]


def built(folder: Path, table: str, *flags: str) -> PreparedDataset:
    (folder / "t.csv").write_text(table)
    arguments = [f"--annotations={folder / 't.csv'}", f"--videos={folder / 'videos'}", f"--out={folder / 'out'}"]
    assert build_command.main(["--dataset=table", *arguments, "--workers=1", "--size=48", *flags]) == 0
    return PreparedDataset.open(folder / "out")


@pytest.mark.parametrize("flags", [(), ("--released-frames",)])
def test_parts_of_a_file_are_cut_on_the_clock_of_players(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos/late.mp4", LATE)
    write(tmp_path / "videos/slides.mp4", SLIDES)
    rows = "late.mp4,a,4,6,train\nlate.mp4,b,5.3,5.7,train\nlate.mp4,c,0,5,val\n"
    rows += "slides.mp4,d,10,18,test\nslides.mp4,e,10,30,test\nlate.mp4,f,1,3,test\nslides.mp4,g,46,49,test\n"
    prepared = built(tmp_path, f"video,caption,start,end,split\n{rows}", *flags)
    shown, times = {}, {}
    for name in ("train", "val", "test"):
        split = prepared.split(name)
        for row, video in enumerate(split.video_ids):
            frames, mask = split.reader.frames(row, 8)
            shown[video] = [number_of(frame) for frame in frames[mask]]
            times[video] = split.frame_times(row, 8).tolist()
    assert shown == {
        "late_4_6": [10, 20],
        "late_5.3_5.7": [23],
        "late_0_5": [0, 10],
        "slides_10_18": [0],  # the picture that stands there
        "slides_10_30": [0, 1],
        "slides_46_49": [2],
    }
    assert times["late_4_6"] == pytest.approx([4, 5], abs=0.1) and times["slides_10_30"] == pytest.approx([10, 20])
    report = (tmp_path / "out/report.md").read_text()
    assert "late_1_3: left out: its part ends at 3 s, and the pictures begin at 3" in report


@pytest.mark.parametrize("timestamps", [True, False])
def test_frames_have_the_times_of_players(tmp_path: Path, timestamps: bool) -> None:
    path = write(tmp_path / "late.mp4", LATE)
    entry = VideoEntry("late", path, "test", (("c", "x"),), {"c": (4.0, 5.0)})
    settings = FrameSettings(1.0, 16, timestamps=timestamps)
    for name, one in {"told": entry, "bare": dataclasses.replace(entry, intervals={})}.items():
        prepare([one], tmp_path / name, {"dataset": "x"}, settings, Decoding(1, False))
        split = PreparedDataset.open(tmp_path / name).split("test")
        np.testing.assert_allclose(split.frame_times(0, 12), [3, 4, 5, 6], atol=0.1)
        np.testing.assert_allclose(split.frame_times(0, 2), [3, 6], atol=0.1)


def test_records_of_before_there_were_times_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = VideoEntry("slides", write(tmp_path / "slides.mp4", SLIDES), "test", (("c", "x"),))
    settings, out = FrameSettings(1.0, 16), tmp_path / "out"
    with monkeypatch.context() as before:
        before.setattr("data_prep.cache.CACHE_VERSION", 2)
        record = record_path(out / "cache", entry, settings)
    video = decode(entry.path, size=16)
    assert video.provenance.pop("times") == [0, 20, 45]
    write_record(record, video)
    prepare([entry], out, {"dataset": "x"}, settings, Decoding(1, False))
    np.testing.assert_allclose(PreparedDataset.open(out).split("test").frame_times(0, 3), [0, 20, 45])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "cut.mp4"])
def test_times_without_decoding_are_those_of_decoding(tmp_path: Path, name: str) -> None:
    options = (("movflags", "frag_keyframe+empty_moov"),) if name == "cut.mp4" else ()
    path = write(tmp_path / name, Clip(len(VARYING), 10, times=VARYING, between=2, options=options))
    with VideoSource(path) as source:
        read = np.array([time for time, _ in source.frames()])
    with VideoSource(path) as source:
        found = picture_times(source)
    most = 1.1 if name == "clip.mp4" else 0.002  # its index has decoding times, two pictures of half a second off
    np.testing.assert_allclose(found - found[0], read - read[0], atol=most)
    found = probe(path, all_times=True)
    assert found.varies and found.counting_off == pytest.approx(2, abs=1.5)
    steady = probe(write(tmp_path / f"steady_{name}", Clip(60, 10, between=2, options=options)), all_times=True)
    assert steady.varies is False and steady.counting_off < 0.2


def test_the_doctor_counts_videos_whose_rate_varies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write(folder / "varying.mp4", Clip(len(VARYING), 10, times=VARYING))
    write(folder / "steady.mp4", Clip(40, 10))
    write(folder / "late.mkv", LATE)
    (tmp_path / "t.csv").write_text("video,caption,split\nvarying,a,train\nsteady,b,train\nlate,c,val\n")
    places = [f"--annotations={tmp_path / 't.csv'}", f"--videos={folder}", f"--out={tmp_path / 'out'}", "--workers=1"]
    said = {}
    for flag in ("", "--released-frames"):
        doctor_command.main(["--dataset=table", *places, "--size=16", "--json", *filter(None, [flag])])
        findings = json.loads(capsys.readouterr().out)["findings"]
        said[flag] = " | ".join(f"{each['split']}: {each['what']} {each['ids']}" for each in findings)
        assert not any(each["changes_results"] for each in findings)
    off = probe(folder / "varying.mp4", all_times=True).counting_off
    line = f"train: 1 video of a variable frame rate: counting frames is off by up to {off:.1f} s"
    assert all(line in one and f"['varying ({off:.1f} s)']" in one for one in said.values()) and off > 0.5
    assert "frames are taken by their times" in said[""]
    assert "frames are counted, as released" in said["--released-frames"]
    assert "val: 1 video with pictures that begin later than the sound ['late (3.0 s)']" in said[""]


def test_the_readable_one_of_two_files_of_a_name_is_taken_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "videos/video7010.mp4"
    (good.parent / "0backup").mkdir(parents=True)
    write(good, Clip(30, 10))
    broken = Path(shutil.copy(good, good.parent / "0backup/video7010.mkv"))
    broken.write_bytes(broken.read_bytes()[:300])
    partly = write(good.parent / "b.mp4", Clip(3, 10))  # a header, and nothing that can be decoded
    for number in range(3):
        damage_packet(partly, number)
    write(good.parent / "b.mp4.avi", Clip(20, 10))
    prepared = built(tmp_path, "video,caption,split\nvideo7010,a,train\nb,b,train\n", "--no-hold-out")
    said = capsys.readouterr().out
    assert f"2 videos with several files; taken is the first readable one: video7010 ({good}), b (" in said
    split = prepared.split("train")
    assert {name: int(split.frame_counts[row]) for row, name in enumerate(split.video_ids)} == {"video7010": 3, "b": 2}
    flags = [f"--annotations={tmp_path / 't.csv'}", f"--videos={tmp_path / 'videos'}", f"--out={tmp_path / 'out'}"]
    doctor_command.main(["--dataset=table", *flags, "--workers=1", "--size=16"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "several files" in line]
    assert len(lines) == 1 and f"video7010 ({good})" in lines[0] and "b.mp4.avi" in lines[0]
