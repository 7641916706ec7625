from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.prepared_dataset import FrameReader, PreparedDataset
from eaglenet_jax.errors import UserError
from tests.data.prepared import CAPTION_COUNTS, FRAME_COUNTS, SIZE, flat_frame

MAX_FRAMES = 4


@pytest.fixture
def copied(prepared_dir, tmp_path) -> Path:
    """A prepared directory that a test may damage."""
    return Path(shutil.copytree(prepared_dir, tmp_path / "copied"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_captions_point_to_the_rows_of_their_videos(prepared, split):
    data = prepared.split(split)
    videos = len(FRAME_COUNTS[split])
    assert data.video_ids == tuple(f"{split}{video}" for video in range(videos))
    np.testing.assert_array_equal(data.frame_counts, FRAME_COUNTS[split])
    np.testing.assert_array_equal(data.captions.text_video, np.repeat(np.arange(videos), CAPTION_COUNTS[split]))
    for caption_id, text, video in zip(data.captions.ids, data.captions.texts, data.captions.text_video, strict=True):
        assert caption_id.startswith(f"{split}{video}#")
        assert text.startswith(f"clip {video} ")


def test_first_queries_are_one_a_video_in_the_order_of_the_videos(prepared):
    data = prepared.split("test")
    first = data.queries("first")
    assert first.ids == tuple(f"{video_id}#0" for video_id in data.video_ids)
    assert first.texts[2] == "clip 2 told in way 0"
    np.testing.assert_array_equal(first.text_video, np.arange(len(data.video_ids)))
    assert data.queries("all") == data.captions
    with pytest.raises(UserError, match="queries is 'some'"):
        data.queries("some")


def test_intervals_stay_with_their_captions_and_frames_with_their_times(copied):
    file = copied / "captions" / "test.json"
    rows = json.loads(file.read_text())
    rows[2]["captions"][0]["interval"], rows[2]["captions"][2]["interval"] = [1, 2.5], [0, 1]
    file.write_text(json.dumps(rows))
    data = PreparedDataset.open(copied).split("test")
    told = {name: tuple(interval) for name, interval in zip(data.captions.ids, data.captions.intervals, strict=True)}
    assert told["test2#0"] == (1.0, 2.5) and told["test2#2"] == (0.0, 1.0)
    assert np.isnan(data.captions.intervals).sum() == 2 * (len(told) - 2)
    np.testing.assert_array_equal(data.queries("first").intervals[2], [1, 2.5])
    assert np.isnan(data.queries("first").intervals[[0, 1, 3, 4]]).all()
    np.testing.assert_array_equal(data.frame_times(1, MAX_FRAMES), pick_frames(8, MAX_FRAMES))  # stored: one a second
    np.testing.assert_array_equal(data.frame_times(3, MAX_FRAMES), [0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_are_the_picked_ones_in_order_and_padding_is_zero(prepared, split):
    data = prepared.split(split)
    for video, stored in enumerate(FRAME_COUNTS[split]):
        frames, mask = data.frames(video, MAX_FRAMES)
        picked = pick_frames(stored, MAX_FRAMES)
        assert frames.shape == (MAX_FRAMES, SIZE, SIZE, 3) and frames.dtype == np.uint8
        np.testing.assert_array_equal(mask, np.arange(MAX_FRAMES) < len(picked))
        expected = np.stack([flat_frame(split, video, frame) for frame in picked]).astype(int)
        assert np.abs(frames[: len(picked)] - expected).max() <= 4  # JPEG
        assert not frames[len(picked) :].any()


def test_a_reader_that_was_used_can_be_sent_to_another_process(prepared):
    data = prepared.split("train")
    before = data.frames(3, MAX_FRAMES)[0]
    sent = pickle.loads(pickle.dumps(data.reader))
    assert "_records" not in vars(sent)
    np.testing.assert_array_equal(sent.frames(3, MAX_FRAMES)[0], before)


def test_reading_imports_no_tensorflow(prepared_dir):
    program = (
        "import sys; from eaglenet_jax.data.prepared_dataset import PreparedDataset\n"
        f"dataset = PreparedDataset.open({str(prepared_dir)!r})\n"
        "assert 'tensorflow_datasets' not in sys.modules, 'the slow import is to wait for the first frame'\n"
        "dataset.split('train').frames(0, 2)\n"
        "assert 'tensorflow_datasets' in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_fingerprint_and_size_are_the_manifests(prepared):
    assert prepared.fingerprint == "abc"
    assert prepared.size == SIZE


def test_a_path_that_is_not_there_or_is_a_file_is_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=r"no prepared dataset at .*no such directory"):
            PreparedDataset.open(path)


def test_an_unfinished_preparation_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not finished: there is no manifest\.json"):
        PreparedDataset.open(tmp_path)


@pytest.mark.parametrize("content", ['{"format": 99}', "[]", "3"])
def test_another_format_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="this program reads 1"):
        PreparedDataset.open(tmp_path)


def test_a_broken_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 1')
    with pytest.raises(UserError, match="is not JSON"):
        PreparedDataset.open(tmp_path)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(prepared):
    with pytest.raises(UserError, match="no split 'val'; choose one of test, train"):
        prepared.split("val")


def test_captions_that_are_missing_or_do_not_fit_the_manifest_are_refused(copied):
    path = copied / "captions/train.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[:-1]))
    with pytest.raises(UserError, match="holds 6 videos and 12 captions, the manifest says 7 and 14"):
        PreparedDataset.open(copied).split("train")
    path.unlink()
    with pytest.raises(UserError, match=r"is incomplete: there is no train\.json"):
        PreparedDataset.open(copied).split("train")


def test_a_video_without_caption_is_refused(copied):
    path = copied / "captions/train.json"
    rows = json.loads(path.read_text())
    rows[0]["captions"] += rows[1]["captions"]
    rows[1]["captions"] = []
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"video 'train1' .* has no caption"):
        PreparedDataset.open(copied).split("train")


def test_records_of_another_preparation_are_refused(prepared_dir):
    names = ("train1", "train0", *(f"train{i}" for i in range(2, 7)))
    with pytest.raises(UserError, match=r"record 0 .* is video 'train0', the captions say 'train1'"):
        FrameReader(prepared_dir / "shards", "train", names, SIZE).frames(0, MAX_FRAMES)
    with pytest.raises(UserError, match="holds 7 videos of split 'train', its captions name 2"):
        FrameReader(prepared_dir / "shards", "train", names[:2], SIZE).frames(0, MAX_FRAMES)


def test_frames_of_another_size_are_refused(prepared_dir, prepared):
    reader = FrameReader(prepared_dir / "shards", "train", prepared.split("train").video_ids, SIZE * 2)
    with pytest.raises(UserError, match="is 16 × 16 and not 32 square"):
        reader.frames(0, MAX_FRAMES)


def test_a_damaged_frame_is_named_by_its_video(prepared, monkeypatch):
    reader = prepared.split("train").reader
    damaged = [{"video_id": b"train0", "frames": [b"\xff\xd8 no image"]}]
    monkeypatch.setitem(vars(reader), "_records", damaged)
    with pytest.raises(UserError, match=r"a frame of video 'train0' .* is damaged"):
        reader.frames(0, MAX_FRAMES)
