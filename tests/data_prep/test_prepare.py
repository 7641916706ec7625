from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, fill_cache, read_record, record_path, write_record
from data_prep.demo import DemoData, ensure_moving_shapes
from data_prep.parallel import MIN_JOBS_FOR_PROCESSES
from data_prep.prepare import Decoding, fingerprint, prepare, read_manifest
from eaglenet_jax.data.decode import DecodedVideo, decode
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError
from tests.data_prep.conftest import SMALL_SPLITS, WriteVideo
from tests.data_prep.killing import ROOT, run_and_kill, workers_are_gone

Pictures = Callable[..., np.ndarray]
SETTINGS = FrameSettings(3, 16)
DECODING = Decoding(workers=1, progress=False)
DATASET = "shapes"
ABOUT = {"dataset": DATASET}
COPIES = 40


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def two_videos(tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures) -> list[VideoEntry]:
    folder = tmp_path / "videos"
    folder.mkdir()
    return [
        VideoEntry(
            name, write_video(folder / f"{name}.mp4", counting_pictures(25)), split, ((f"{name}-0", f"a {name}"),)
        )
        for name, split in (("one", "train"), ("two", "test"))
    ]


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    video = DecodedVideo((b"\xff\xd8\n\n\x00", b"", b"\x00" * 5 + b"\n"), {"decoder": "x\ny", "seconds": 1.5})
    write_record(tmp_path / "ab" / "abc.frames", video)
    assert read_record(tmp_path / "ab" / "abc.frames") == video
    with open(tmp_path / "ab" / "abc.frames", "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="holds 15 bytes of frames, its header says 11"):
        read_record(tmp_path / "ab" / "abc.frames")


def test_what_is_packed_is_what_was_decoded(tmp_path: Path, shapes_entries: list[VideoEntry]) -> None:
    manifest = prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["format"] == 1 and manifest["dataset"] == DATASET
    assert manifest["settings"] == {"fps": 3.0, "size": 16, "jpeg_quality": 95}
    assert manifest["failed"] == manifest["incomplete"] == {}
    assert manifest["splits"] == {
        split.replace("validate", "val"): {"videos": count, "captions": 5 * count}
        for split, count in SMALL_SPLITS.items()
    }
    builder = tfds.builder_from_directory(str(tmp_path / "shards"))
    for split in manifest["splits"]:
        entries = [entry for entry in shapes_entries if entry.split == split]
        rows = json.loads((tmp_path / "captions" / f"{split}.json").read_text())
        source = builder.as_data_source(split)
        assert len(source) == len(rows) == len(entries)
        for index in np.random.default_rng(0).permutation(len(entries)):
            entry, row, record = entries[index], rows[index], source[int(index)]
            video = decode(entry.path, fps=3, size=16)
            assert record["video_id"].decode() == row["video_id"] == entry.video_id
            assert tuple(record["frames"]) == video.frames
            assert row["frames"] == len(video.frames)
            assert json.loads(record["provenance"]) == video.provenance
            assert [c.decode() for c in record["captions"]] == [text for _, text in entry.captions]
            assert [(c["id"], c["text"]) for c in row["captions"]] == list(entry.captions)
            assert [c.decode() for c in record["caption_ids"]] == [name for name, _ in entry.captions]
            assert np.asarray(Image.open(io.BytesIO(record["frames"][0]))).shape == (16, 16, 3)


def test_single_records_can_be_read_at_random(tmp_path: Path, shapes_entries: list[VideoEntry]) -> None:
    prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    from array_record.python.array_record_module import ArrayRecordReader

    shards = list((tmp_path / "shards").glob("*.array_record*"))
    assert len(shards) >= len(SMALL_SPLITS)
    for path in shards:
        assert "group_size:1," in ArrayRecordReader(str(path)).writer_options_string()


def test_a_second_call_does_nothing(tmp_path: Path, shapes_entries: list[VideoEntry]) -> None:
    first = prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    before = times(tmp_path)
    assert prepare(shapes_entries, tmp_path, ABOUT, FrameSettings(3.0, 16), DECODING) == first
    assert times(tmp_path) == before


def test_new_captions_are_packed_without_decoding_again(tmp_path: Path, shapes_entries: list[VideoEntry]) -> None:
    prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    cached = times(tmp_path / "cache")
    only_test = [
        VideoEntry(e.video_id, e.path, e.split, (("q-" + e.video_id, "word " * 500),))
        for e in shapes_entries
        if e.split == "test"
    ]
    manifest = prepare(only_test, tmp_path, ABOUT, SETTINGS, DECODING)
    assert manifest["splits"] == {"test": {"videos": 3, "captions": 3}}
    assert times(tmp_path / "cache") == cached
    assert [path.name for path in (tmp_path / "captions").iterdir()] == ["test.json"]
    record = tfds.builder_from_directory(str(tmp_path / "shards")).as_data_source("test")[0]
    assert record["captions"][0].decode() == "word " * 500


def test_captions_carry_the_interval_that_they_describe(tmp_path: Path, two_videos: list[VideoEntry]) -> None:
    one, two = two_videos
    told = dataclasses.replace(one, intervals={"one-0": (0.25, 0.75)})
    prepare([told, two], tmp_path, ABOUT, SETTINGS, DECODING)
    (row,) = json.loads((tmp_path / "captions" / "train.json").read_text())
    assert row["captions"] == [{"id": "one-0", "text": "a one", "interval": [0.25, 0.75]}]
    (row,) = json.loads((tmp_path / "captions" / "test.json").read_text())
    assert row.keys() == {"video_id", "frames", "captions"} and row["captions"][0].keys() == {"id", "text"}
    dataset = PreparedDataset.open(tmp_path)
    train, test = dataset.split("train"), dataset.split("test")
    np.testing.assert_array_equal(train.captions.intervals, np.array([[0.25, 0.75]], np.float32))
    assert np.isnan(test.captions.intervals).all() and test.captions.intervals.shape == (1, 2)
    # 10 pictures a second, of which 0, 3, 6, 10, 13, … are stored.
    np.testing.assert_allclose(train.frame_times(0, 12), [0, 0.3, 0.6, 1, 1.3, 1.6, 2, 2.3])
    np.testing.assert_allclose(train.frame_times(0, 2), [0, 2.3])


def test_a_folder_of_an_earlier_version_states_the_rate_instead_of_times(
    tmp_path: Path, two_videos: list[VideoEntry]
) -> None:
    told = dataclasses.replace(two_videos[0], intervals={"one-0": (0.25, 0.75)})
    prepare([told], tmp_path, ABOUT, SETTINGS, DECODING)
    file = tmp_path / "captions" / "train.json"
    (row,) = json.loads(file.read_text())
    assert row.pop("times") == [0, 0.3, 0.6, 1, 1.3, 1.6, 2, 2.3]
    file.write_text(json.dumps([row | {"source_fps": 10.0}]))
    np.testing.assert_allclose(
        PreparedDataset.open(tmp_path).split("train").frame_times(0, 12), [0, 0.3, 0.6, 1, 1.3, 1.6, 2, 2.3]
    )


def test_intervals_are_part_of_the_fingerprint_where_there_are_any(two_videos: list[VideoEntry]) -> None:
    one, two = two_videos
    marks = {
        fingerprint([dataclasses.replace(one, intervals=intervals), two], SETTINGS)
        for intervals in ({}, {"one-0": (0.0, 1.0)}, {"one-0": (0.0, 2.0)})
    }
    assert len(marks) == 3
    content = [1, SETTINGS.as_dict(), [[e.split, e.video_id, e.captions] for e in two_videos]]
    before = hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()
    assert fingerprint(two_videos, SETTINGS) == before  # of folders that were prepared before there were intervals


def test_other_settings_or_another_file_are_decoded_again(tmp_path: Path, two_videos: list[VideoEntry]) -> None:
    settings = FrameSettings(1.0, 16)
    paths = {record_path(tmp_path, entry, settings) for entry in two_videos}
    paths |= {record_path(tmp_path, two_videos[0], other) for other in (FrameSettings(2.0, 16), FrameSettings(1.0, 8))}
    os.utime(two_videos[0].path, ns=(5, 5))
    paths.add(record_path(tmp_path, two_videos[0], settings))
    assert len(paths) == 5


def test_missing_and_broken_videos_are_an_error_that_names_them(tmp_path: Path, two_videos: list[VideoEntry]) -> None:
    out = tmp_path / "out"
    two_videos[1].path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"1 of 2 videos .* two at .*two\.mp4 \(Invalid data.*Replace .* without --strict"
    ):
        prepare(two_videos, out, ABOUT, SETTINGS, DECODING)
    two_videos[1].path.unlink()
    with pytest.raises(UserError, match=r"1 of 2 videos .* two at .*two\.mp4 \(no such file\)"):
        prepare(two_videos, out, ABOUT, SETTINGS, DECODING)
    assert read_manifest(out) is None


def test_left_out_videos_are_listed_and_come_in_once_they_are_repaired(
    tmp_path: Path, two_videos: list[VideoEntry]
) -> None:
    out, good = tmp_path / "out", two_videos[1].path.read_bytes()
    two_videos[1].path.write_bytes(good[: len(good) // 2])
    manifest = prepare(two_videos, out, ABOUT, SETTINGS, dataclasses.replace(DECODING, allow_missing=True))
    assert list(manifest["failed"]) == ["two"] and list(manifest["splits"]) == ["train"]
    before = times(out)
    assert prepare(two_videos, out, ABOUT, SETTINGS, dataclasses.replace(DECODING, allow_missing=True)) == manifest
    assert times(out) == before
    with pytest.raises(UserError, match="1 of 2 videos"):
        prepare(two_videos, out, ABOUT, SETTINGS, DECODING)
    two_videos[1].path.write_bytes(good)
    manifest = prepare(two_videos, out, ABOUT, SETTINGS, DECODING)
    assert manifest["failed"] == {} and set(manifest["splits"]) == {"train", "test"}
    for entry in two_videos:
        entry.path.unlink()
    with pytest.raises(UserError, match="2 of 2 videos"):
        prepare(two_videos, tmp_path / "other", ABOUT, SETTINGS, dataclasses.replace(DECODING, allow_missing=True))


def test_a_run_killed_while_packing_starts_packing_again(
    tmp_path: Path, shapes_entries: list[VideoEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    from data_prep import pack as pack_module

    with monkeypatch.context() as patch:
        patch.setattr(pack_module.shutil, "rmtree", lambda *args, **kwargs: None)
        patch.setattr(pack_module.Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    assert read_manifest(tmp_path) is None and not (tmp_path / "shards").exists()
    assert (tmp_path / ".shards.tmp").exists()
    prepare(shapes_entries, tmp_path, ABOUT, SETTINGS, DECODING)
    assert not (tmp_path / ".shards.tmp").exists()
    assert len(tfds.builder_from_directory(str(tmp_path / "shards")).as_data_source("train")) == SMALL_SPLITS["train"]


@pytest.mark.long
def test_a_killed_decoder_loses_and_repeats_nothing(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures
) -> None:
    video_dir, out = tmp_path / "videos", tmp_path / "out"
    video_dir.mkdir()
    original = write_video(tmp_path / "original.mp4", counting_pictures(40, 240, 320))
    names = [f"video{i}" for i in range(COPIES)]
    for name in names:
        shutil.copy(original, video_dir / f"{name}.mp4")
    content = {
        "videos": [{"video_id": name, "split": "train"} for name in names],
        "sentences": [{"video_id": name, "caption": f"clip {name}", "sen_id": i} for i, name in enumerate(names)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    command = ["data_prep", f"--annotations={tmp_path / 'a.json'}", f"--videos={video_dir}", f"--out={out}"]
    command += ["--fps=5", "--size=32", "--workers=2"]
    killed = run_and_kill(command, when=lambda: len(list((out / "cache").rglob("*.frames"))) >= 5)
    workers_are_gone(killed)
    finished = {name: time for name, time in times(out / "cache").items() if name.endswith(".frames")}
    assert 5 <= len(finished) < COPIES
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"train: {COPIES} videos, {COPIES} captions" in result.stdout
    records = {name: time for name, time in times(out / "cache").items() if name.endswith(".frames")}
    assert len(records) == COPIES and finished.items() <= records.items()
    source = tfds.builder_from_directory(str(out / "shards")).as_data_source("train")
    assert [source[i]["video_id"].decode() for i in range(COPIES)] == names
    assert all(tuple(source[i]["frames"]) == decode(original, fps=5, size=32).frames for i in (0, 17, COPIES - 1))


def test_decoding_in_processes_reports_failures(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures
) -> None:
    entries = []
    for i in range(MIN_JOBS_FOR_PROCESSES):
        path = write_video(tmp_path / f"{i}.mp4", counting_pictures(3))
        if i % 5 == 0:
            path.write_bytes(b"")
        entries.append(VideoEntry(f"v{i}", path, "train", ()))
    entries.append(VideoEntry("absent", tmp_path / "absent.mp4", "train", ()))
    failures = fill_cache(entries, tmp_path / "cache", FrameSettings(1.0, 8), workers=2, progress=False)
    assert set(failures) == {"v0", "v5", "v10", "v15", "absent"}


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_prep", "--annotations=nothing.json", "--videos=.", f"--out={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: there is no annotation file nothing.json; check the path\n"


def test_nothing_here_imports_tensorflow_or_jax(tmp_path: Path, shapes_folder: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from data_prep.cache import FrameSettings
from data_prep.prepare import Decoding, prepare
from data_prep.readers.msrvtt import read_msrvtt_json
folder = Path({str(shapes_folder)!r})
entries = read_msrvtt_json(folder / "annotations.json", folder / "videos")
assert "tensorflow_datasets" not in sys.modules  # a call that has nothing to do is quick
prepare(entries, Path({str(tmp_path)!r}), {{"dataset": "x"}}, FrameSettings(1, 8), Decoding(progress=False))
import tensorflow_datasets as tfds
assert len(tfds.builder_from_directory({str(tmp_path / "shards")!r}).as_data_source("train")[0]["frames"]) >= 2
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_the_demo_data_are_made_once(tmp_path: Path) -> None:
    splits = {"train": 2, "validate": 1, "test_1k": 2}
    prepared = ensure_moving_shapes(DemoData(tmp_path, splits=splits, size=16), progress=False)
    assert read_manifest(prepared)["splits"] == {
        "train": {"videos": 2, "captions": 10},
        "val": {"videos": 1, "captions": 5},
        "test": {"videos": 2, "captions": 10},
    }
    before = times(tmp_path)
    assert ensure_moving_shapes(DemoData(tmp_path, splits=splits, size=16), progress=False) == prepared
    assert times(tmp_path) == before
    other = ensure_moving_shapes(DemoData(tmp_path, splits=splits, size=8), progress=False)
    assert other.parent == prepared.parent and other != prepared
