from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.data.pipeline import (
    Batch,
    batch_rows,
    batches,
    batches_per_pass,
    text_batches,
    train_dataset,
    video_batches,
)
from eaglenet_jax.data.prepared_dataset import Captions
from eaglenet_jax.data.records import example_id, example_ids
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.errors import UserError
from tests.data.prepared import SIZE

MAX_FRAMES, MAX_WORDS, SEED = 4, 12, 7


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(MAX_WORDS)


@pytest.fixture
def train(prepared):
    return prepared.split("train")  # 14 captions of 7 videos


def dataset(split, tokenizer, batch_size=4, seed=SEED, **processes):
    return train_dataset(split, tokenizer, batch_size=batch_size, max_frames=MAX_FRAMES, seed=seed, **processes)


def assert_same(one: Batch, other: Batch) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        assert one[name].dtype == other[name].dtype


def passes(data, count: int, length: int) -> list[list[int]]:
    """Return the caption ids of the first passes, in training order."""
    shown = [[int(i) for i in data[k]["text_id"]] for k in range(count * length)]
    return [list(itertools.chain(*shown[p * length : (p + 1) * length])) for p in range(count)]


def test_files_are_opened_by_the_thread_that_asks_for_batches(train, tokenizer):
    """tensorflow_datasets must not be imported by a thread that reads ahead: see `FrameReader.open`."""
    dataset(train, tokenizer)
    assert "_records" in vars(train.reader)


def test_a_batch_has_the_shapes_and_types_of_the_contract(train, tokenizer):
    batch = dataset(train, tokenizer)[0]
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "text_id": ((4,), np.uint32),
        "tokens": ((4, MAX_WORDS), np.int32),
        "video_id": ((4,), np.uint32),
        "frames": ((4, MAX_FRAMES, SIZE, SIZE, 3), np.uint8),
        "frame_mask": ((4, MAX_FRAMES), np.bool_),
    }


def test_every_row_is_a_caption_with_its_own_video(train, tokenizer):
    by_id = {int(example_id(name)): row for row, name in enumerate(train.captions.ids)}
    data = dataset(train, tokenizer)
    for k in range(7):
        batch = data[k]
        for row, text_id in enumerate(batch["text_id"]):
            caption = by_id[int(text_id)]
            video = train.captions.text_video[caption]
            frames, mask = train.frames(video, MAX_FRAMES)
            assert batch["video_id"][row] == example_id(train.video_ids[video])
            np.testing.assert_array_equal(batch["tokens"][row], tokenizer.tokenize([train.captions.texts[caption]])[0])
            np.testing.assert_array_equal(batch["frames"][row], frames)
            np.testing.assert_array_equal(batch["frame_mask"][row], mask)
            assert not batch["frames"][row][~mask].any()


def test_a_pass_shows_every_caption_once_where_batches_divide_them(train, tokenizer):
    everything = Counter(int(i) for i in example_ids(train.captions.ids))
    assert batches_per_pass(train, 7) == 2
    for shown in passes(dataset(train, tokenizer, batch_size=7), 5, 2):
        assert Counter(shown) == everything


def test_the_remainder_of_every_pass_is_dropped_and_no_caption_comes_twice(train, tokenizer):
    assert batches_per_pass(train, 4) == 3
    for shown in passes(dataset(train, tokenizer, batch_size=4), 5, 3):
        assert len(set(shown)) == 12  # of 14


def test_the_dropped_remainder_differs_from_pass_to_pass(train, tokenizer):
    everything = {int(i) for i in example_ids(train.captions.ids)}
    dropped = {frozenset(everything - set(shown)) for shown in passes(dataset(train, tokenizer), 6, 3)}
    assert len(dropped) > 1


def test_passes_and_seeds_are_shuffled_differently_and_one_seed_alike(train, tokenizer):
    shown = passes(dataset(train, tokenizer, batch_size=7), 6, 2)
    shown += passes(dataset(train, tokenizer, batch_size=7, seed=SEED + 1), 6, 2)
    assert len({tuple(order) for order in shown}) == 12
    assert passes(dataset(train, tokenizer, batch_size=7), 6, 2) == shown[:6]


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_the_rows_of_all_processes_are_the_global_batch(train, tokenizer, process_count):
    whole = dataset(train, tokenizer)
    parts = [
        dataset(train, tokenizer, process_index=index, process_count=process_count) for index in range(process_count)
    ]
    for k in (0, 2, 3, 11):
        rows = [part[k] for part in parts]
        assert_same(whole[k], {name: np.concatenate([row[name] for row in rows]) for name in rows[0]})


def test_a_process_decodes_its_own_rows_only(train, tokenizer, monkeypatch):
    rows_read = []
    reader = train.reader
    monkeypatch.setattr(reader, "frames", lambda row, m, read=reader.frames: rows_read.append(row) or read(row, m))
    dataset(train, tokenizer, process_index=1, process_count=2)[5]
    assert len(rows_read) == 2


def test_going_on_at_a_count_gives_the_batches_of_the_uninterrupted_run(train, tokenizer):
    data = dataset(train, tokenizer)
    with contextlib.closing(batches(data, stop=8)) as uninterrupted:
        expected = list(uninterrupted)
    assert len(expected) == 8
    for start in (1, 3, 7):  # within a pass and at its end
        with contextlib.closing(batches(data, start=start)) as resumed:
            for k in range(start, 8):
                assert_same(next(resumed), expected[k])


@pytest.mark.long
def test_worker_processes_give_the_same_batches_and_end_when_closed(train, tokenizer):
    data = dataset(train, tokenizer)
    # Both at once: most of the time is the start of the processes.
    with (
        contextlib.closing(batches(data, start=2, workers=1)) as one,
        contextlib.closing(batches(data, start=2, workers=2)) as two,
    ):
        for k in range(2, 9):
            assert_same(next(one), data[k])
            batch = next(two)
            assert_same(batch, data[k])
            assert type(batch["frames"]) is np.ndarray
        assert len(multiprocessing.active_children()) == 3
    assert not multiprocessing.active_children()


SCRIPT = """
import os, signal, sys
from eaglenet_jax.data.pipeline import batches, train_dataset
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.tokenizer import Tokenizer

if __name__ == "__main__":
    split = PreparedDataset.open(sys.argv[1]).split("train")
    data = train_dataset(split, Tokenizer(12), batch_size=4, max_frames=4, seed=7)
    reading = batches(data, start=3, workers=1)
    print(*next(reading)["text_id"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.long
def test_a_plain_script_may_use_workers_and_they_end_when_it_is_killed(prepared_dir, train, tokenizer, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(prepared_dir)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # The pipe of the output stays open, and this call waits, as long as a worker lives.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.split() == [str(i) for i in dataset(train, tokenizer)[3]["text_id"]]


@pytest.mark.parametrize("batch_size", [1, 3, 5, 8])
def test_evaluation_sees_every_video_once_in_order(prepared, batch_size):
    test = prepared.split("test")
    ids, frames, masks = [], [], []
    for batch in video_batches(test, batch_size=batch_size, max_frames=MAX_FRAMES):
        assert batch["frames"].shape == (batch_size, MAX_FRAMES, SIZE, SIZE, 3)
        assert batch["frame_mask"].any(axis=1).all()  # filled up with real videos: no mean over nothing
        ids.append(batch["video_id"][batch["valid"]])
        frames.append(batch["frames"][batch["valid"]])
        masks.append(batch["frame_mask"][batch["valid"]])
    np.testing.assert_array_equal(np.concatenate(ids), example_ids(test.video_ids))
    for row, (shown, mask) in enumerate(zip(np.concatenate(frames), np.concatenate(masks), strict=True)):
        expected = test.frames(row, MAX_FRAMES)
        np.testing.assert_array_equal(shown, expected[0])
        np.testing.assert_array_equal(mask, expected[1])


@pytest.mark.parametrize("batch_size", [1, 3, 8, 20])
@pytest.mark.parametrize("queries", ["first", "all"])
def test_evaluation_sees_every_query_once_in_order(prepared, tokenizer, queries, batch_size):
    test = prepared.split("test")
    shown = list(text_batches(test, tokenizer, batch_size=batch_size, queries=queries))
    assert all(batch["tokens"].shape == (batch_size, MAX_WORDS) for batch in shown)
    ids = np.concatenate([batch["text_id"][batch["valid"]] for batch in shown])
    tokens = np.concatenate([batch["tokens"][batch["valid"]] for batch in shown])
    expected = test.queries(queries)
    np.testing.assert_array_equal(ids, example_ids(expected.ids))
    np.testing.assert_array_equal(tokens, tokenizer.tokenize(expected.texts))


@pytest.mark.parametrize(
    ("rows", "most", "parts", "size"),
    [(1000, 64, 1, 64), (64, 64, 1, 64), (20, 64, 1, 20), (5, 64, 1, 8), (1, 64, 1, 4), (5, 3, 1, 3), (5, 64, 3, 9)],
)
def test_a_small_split_is_not_filled_up_to_a_whole_batch(rows, most, parts, size):
    assert batch_rows(rows, most, parts) == size


@pytest.mark.parametrize("batch_size", [0, 15])
def test_a_batch_larger_than_the_data_or_empty_is_refused(train, tokenizer, batch_size):
    with pytest.raises(UserError, match=f"batch_size is {batch_size}, split 'train' has 14 caption-video pairs"):
        dataset(train, tokenizer, batch_size=batch_size)


def test_a_batch_that_processes_cannot_share_is_refused(train, tokenizer):
    with pytest.raises(UserError, match="batch_size 4 cannot be shared evenly by 3 processes"):
        dataset(train, tokenizer, process_count=3)


def test_a_negative_number_of_workers_is_refused(train, tokenizer):
    with pytest.raises(UserError, match="workers is -1"):
        batches(dataset(train, tokenizer), workers=-1)


def with_text(split, row: int, text: str):
    captions = split.captions
    texts = (*captions.texts[:row], text, *captions.texts[row + 1 :])
    return replace(split, captions=Captions(captions.ids, texts, captions.text_video))


def test_captions_without_words_are_named(train, tokenizer):
    with pytest.raises(UserError, match=r"1 caption of split 'train' without words \(first: 'train0#2'\)"):
        dataset(with_text(train, 2, " \n"), tokenizer)


def test_truncated_captions_are_reported_once_with_their_number(train, tokenizer, capsys):
    for _ in range(2):  # as at every evaluation
        data = dataset(with_text(train, 2, "dog " * 500), tokenizer)
        data[0], data[1]
    assert capsys.readouterr().err.splitlines() == [
        "note: 1 of 14 captions of split 'train' have more than 12 tokens; the rest of these is not read "
        "(config.max_words)"
    ]


def test_no_report_if_all_captions_fit(train, tokenizer, capsys):
    dataset(train, tokenizer)
    assert not capsys.readouterr().err
