"""Batches for training and evaluation, read with grain.

Training uses one global shuffle of all caption–video pairs, a new one in every pass, cut into global batches that can
be read by number. Batch k depends only on the data, the seed and k: it is the same for any number of worker processes,
and with several hosts each reads its rows of it. So a run is resumed from the count of batches consumed.
"""

from __future__ import annotations

import atexit
import functools
import sys
import weakref
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from absl import flags

from eaglenet_jax.data.prepared_dataset import Captions, FrameReader, PreparedSplit, rows_of
from eaglenet_jax.data.records import example_ids
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.data.vision_tokens import TokenReader
from eaglenet_jax.errors import UserError
from eaglenet_jax.spawning import end_with_parent
from eaglenet_jax.wording import counted

Batch = dict[
    str, Any
]  # arrays by name; "text_extra" and "video_extra" are dicts of arrays, present if a head needs them

# Batches are large (115 MB of 64 videos with 12 frames of 224 × 224), so few are kept ready.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class _VideoLoader:
    """Load ids, frames and frame masks of rows of videos [b]."""

    reader: FrameReader
    video_id: np.ndarray
    max_frames: int
    tokens: TokenReader | None

    def __call__(self, rows: np.ndarray) -> Batch:
        size = self.reader.size
        frames = np.empty((len(rows), self.max_frames, size, size, 3), np.uint8)
        mask = np.empty((len(rows), self.max_frames), bool)
        for slot, row in enumerate(rows):
            frames[slot], mask[slot] = self.reader.frames(int(row), self.max_frames)
        batch = {"video_id": self.video_id[rows], "frames": frames, "frame_mask": mask}
        return batch if self.tokens is None else {**batch, "video_extra": {"tokens": self.tokens(rows)}}


@dataclass(frozen=True)
class _PairLoader:
    """Load rows of captions [b], each with its video."""

    text_id: np.ndarray
    tokens: np.ndarray
    text_video: np.ndarray
    extra: Mapping[str, Any]
    videos: _VideoLoader

    def __call__(self, rows: np.ndarray) -> Batch:
        batch = {"text_id": self.text_id[rows], "tokens": self.tokens[rows], **_text_extra(self.extra, rows)}
        return batch | self.videos(self.text_video[rows])


def _text_extra(extra: Mapping[str, Any], rows: np.ndarray) -> Batch:
    return {"text_extra": rows_of(extra, rows)} if extra else {}


@dataclass(frozen=True)
class _ProcessSlice:
    """Rows of a global batch that one process reads."""

    start: int
    stop: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return rows[self.start : self.stop]


def train_dataset(
    split: PreparedSplit,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    max_frames: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """Build the endless dataset of global training batches: `dataset[k]` is this process's rows of batch k.

    An example is one caption–video pair. A pass contains every caption at most once and drops the last incomplete batch
    (`batches_per_pass`); every pass has its own shuffle. Logs one warning about captions that do not fit into L tokens.

    Args:
        split: The prepared split.
        tokenizer: Tokenizer with L = tokenizer.max_words.
        batch_size: Pairs of a global batch.
        max_frames: M.
        seed: Of the shuffle.
        process_index: Number of this process.
        process_count: Number of processes.

    Returns:
        A dataset of dicts of "text_id" [b] uint32, "tokens" [b, L] int32, "video_id" [b] uint32, "frames" [b, M, H, W,
        3] uint8 and "frame_mask" [b, M] bool, where b is batch_size / process_count.

    Raises:
        UserError: The batch is larger than the split or does not divide by the number of processes, captions have no
            words, or ids repeat.
    """
    rows = shuffled_rows(
        split, batch_size=batch_size, seed=seed, process_index=process_index, process_count=process_count
    )
    text_id, tokens = _tokenized(split.captions, tokenizer, split.name)
    loader = _PairLoader(
        text_id, tokens, split.captions.text_video, split.captions.extra, _video_loader(split, max_frames)
    )
    return rows.map(loader)


def shuffled_rows(
    split: PreparedSplit, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset:
    """Build the endless dataset of the rows of captions [b] of global training batches; see `train_dataset`.

    Raises:
        UserError: The batch is larger than the split or does not divide by the number of processes.
    """
    pairs = len(split.captions)
    if not 1 <= batch_size <= pairs:
        raise UserError(
            f"batch_size is {batch_size}, split {split.name!r} has {pairs} caption-video pairs; choose 1 to {pairs}"
        )
    return (
        grain.MapDataset.range(pairs)
        .seed(seed)
        .shuffle()
        .batch(batch_size, drop_remainder=True)
        .repeat()
        .map(_process_slice(batch_size, process_index, process_count))
    )


def batches_per_pass(split: PreparedSplit, batch_size: int) -> int:
    """Return the number of global batches in one pass over the captions of a split."""
    return len(split.captions) // batch_size


def batches(
    dataset: grain.MapDataset, *, start: int = 0, stop: int | None = None, workers: int = 0
) -> Generator[Batch, None, None]:
    """Read batches `start`, `start + 1`, … of a dataset ahead of use.

    Reading begins at once. Call `close()` on the generator (`contextlib.closing`) to end the workers of one that is not
    exhausted; they also end with the process that started them, however it ends. Workers are spawned: a script that
    uses them keeps its work under `if __name__ == "__main__":`. They pass batches in shared memory (/dev/shm), about
    three for every worker at a time.

    Args:
        dataset: From `train_dataset`.
        start: First batch.
        stop: Number after the last batch, None for no end.
        workers: Number of processes that read ahead; 0 reads in threads of this process.

    Raises:
        UserError: `workers` is negative.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}; give 0 (threads of this process) or a number of processes")
    ahead = 1 if workers else _BATCHES_AHEAD
    read = dataset[start:stop].to_iter_dataset(grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead))
    if workers:
        _let_grain_read_its_flags()
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
        read = read.mp_prefetch(processes, worker_init_fn=_start_worker).map(_own_memory)
    iterator = iter(read)
    iterator.start_prefetch()
    open_batches = _until_closed(iterator)
    _close_at_exit(weakref.ref(open_batches))
    return open_batches


def _until_closed(iterator: grain.DatasetIterator[Batch]) -> Generator[Batch, None, None]:
    try:
        yield from iterator
    finally:
        iterator.close()


def _close_at_exit(reference: weakref.ref[Generator[Batch, None, None]]) -> None:
    # grain's iterators close again when they are freed, and print tracebacks if modules are already gone by then.
    def close() -> None:
        if (left_open := reference()) is not None:
            left_open.close()

    atexit.register(close)


def _own_memory(batch: Batch) -> Batch:
    # Frees the shared memory at once: a batch that lives until the interpreter exits fails to, with a traceback.
    return {name: _own_memory(value) if isinstance(value, dict) else np.array(value) for name, value in batch.items()}


def batch_rows(rows: int, batch_size: int, parts: int = 1) -> int:
    """Choose the size of the batches in which a split is encoded.

    Rows that only fill up a batch cost as much as others, so a split of fewer rows than `batch_size` gets a batch of
    its own size. Multiples of 4 let small splits share one compiled program.

    Args:
        rows: Captions or videos of the split.
        batch_size: Most rows of a batch.
        parts: Devices that share a batch; the size is a multiple of it.
    """
    size = min(batch_size, -(-max(rows, 1) // 4) * 4)
    return -(-size // parts) * parts


def text_batches(
    split: PreparedSplit,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    queries: str = "all",
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Generate the captions of `split.queries(queries)` once each, in order.

    Every batch has B = batch_size rows, so that encoding compiles once; the rows that pad the last one repeat its last
    caption and are False in "valid". With several processes each gets its rows of every batch.

    Args:
        split: The prepared split.
        tokenizer: Tokenizer with L = tokenizer.max_words.
        batch_size: B.
        queries: As in `PreparedSplit.queries`.
        process_index: Number of this process.
        process_count: Number of processes.

    Returns:
        Dicts of "text_id" [B] uint32, "tokens" [B, L] int32 and "valid" [B] bool.
    """
    process_rows = _process_slice(batch_size, process_index, process_count)
    captions = split.queries(queries)
    text_id, tokens = _tokenized(captions, tokenizer, split.name)
    for first in range(0, len(captions), batch_size):
        padded, valid = _padded(np.arange(first, min(first + batch_size, len(captions))), batch_size)
        rows = process_rows(padded)
        batch = {"text_id": text_id[rows], "tokens": tokens[rows], "valid": process_rows(valid)}
        yield batch | _text_extra(captions.extra, rows)


def video_batches(
    split: PreparedSplit,
    *,
    batch_size: int,
    max_frames: int,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    between: tuple[int, int] | None = None,
) -> Generator[Batch, None, None]:
    """Read the videos of a split once each, in order, ahead of use as by `batches`.

    Args:
        split: The prepared split.
        batch_size: B.
        max_frames: M.
        workers: As in `batches`.
        process_index: Number of this process.
        process_count: Number of processes.
        between: The first video and the one after the last; None for all.

    Returns:
        Dicts of "video_id" [B] uint32, "frames" [B, M, H, W, 3] uint8, "frame_mask" [B, M] bool and "valid" [B] bool,
        padded as in `text_batches`.
    """
    process_rows = _process_slice(batch_size, process_index, process_count)
    loader = _PaddedLoader(_video_loader(split, max_frames), batch_size, process_rows)
    first, stop = (0, len(split.video_ids)) if between is None else between
    return batches(grain.MapDataset.range(first, stop).batch(batch_size).map(loader), workers=workers)


@dataclass(frozen=True)
class _PaddedLoader:
    """This process's rows of a video batch of fixed size, padded with its last video, which is decoded once."""

    videos: _VideoLoader
    batch_size: int
    process_rows: _ProcessSlice

    def __call__(self, rows: np.ndarray) -> Batch:
        padded, valid = (self.process_rows(values) for values in _padded(rows, self.batch_size))
        unique, positions = np.unique(padded, return_inverse=True)
        return rows_of(self.videos(unique), positions) | {"valid": valid}


def _padded(rows: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad rows to the batch size with the last one; also return which are real."""
    return np.pad(rows, (0, batch_size - len(rows)), mode="edge"), np.arange(batch_size) < len(rows)


def _video_loader(split: PreparedSplit, max_frames: int) -> _VideoLoader:
    split.reader.open()
    return _VideoLoader(split.reader, example_ids(split.video_ids), max_frames, split.tokens)


def _process_slice(batch_size: int, process_index: int, process_count: int) -> _ProcessSlice:
    if batch_size % process_count:
        raise UserError(
            f"batch_size {batch_size} cannot be shared evenly by {process_count} processes; choose a multiple"
        )
    rows = batch_size // process_count
    return _ProcessSlice(process_index * rows, (process_index + 1) * rows)


def _tokenized(captions: Captions, tokenizer: Tokenizer, split_name: str) -> tuple[np.ndarray, np.ndarray]:
    codes = [tokenizer.codes(text) for text in captions.texts]
    wordless = [caption_id for caption_id, code in zip(captions.ids, codes, strict=True) if not code]
    if wordless:
        raise UserError(
            f"{counted(len(wordless), 'caption')} of split {split_name!r} without words (first: {wordless[0]!r});"
            " take them out of the annotations and prepare the dataset again"
        )
    if truncated := tokenizer.count_truncated(codes):
        _say_once(
            f"note: {truncated} of {len(codes):,} captions of split {split_name!r} have more than "
            f"{tokenizer.max_words} tokens; the rest of these is not read (config.max_words)"
        )
    return example_ids(captions.ids), tokenizer.rows(codes)


@functools.cache
def _say_once(line: str) -> None:
    """Print a line where it was not printed before: a split is read again at every evaluation."""
    print(line, file=sys.stderr)


def _let_grain_read_its_flags() -> None:
    # Outside absl.app.run (scripts, notebooks, pytest) nothing parses flags, and grain then refuses to start workers.
    # absl allows reading a flag marked as present. The values stay the defaults, and a later app.run parses as usual.
    if not flags.FLAGS.is_parsed():
        for name in flags.FLAGS:
            if name.startswith("grain_"):
                flags.FLAGS[name].present = True


def _start_worker(index: int, count: int) -> None:
    """Prepare a worker process of grain's."""
    del index, count
    end_with_parent()
