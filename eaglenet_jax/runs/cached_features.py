"""Features of a frozen CLIP: encoded once for a split, stored with the prepared data, read by training and evaluation.

docs/training.md, "Head alone, on features computed once".
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import grain
import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.data.cached_features import (
    HEADER_FILE,
    ArrayForm,
    FeatureLoader,
    FeatureTable,
    StoredFeatures,
    array_file,
    array_header,
)
from eaglenet_jax.data.pipeline import batch_rows, shuffled_rows, text_batches, video_batches
from eaglenet_jax.data.prepared_dataset import Captions, PreparedSplit
from eaglenet_jax.data.records import example_ids
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.scoring.encoding import encoded_batches, make_encode_text, make_encode_video
from eaglenet_jax.scoring.host import to_all_devices, to_host
from eaglenet_jax.system import System
from eaglenet_jax.training.sharding import Devices
from eaglenet_jax.waiting_lock import waiting_lock

DONE_FILE = "done.json"  # rows of an unfinished table that are on the disk
SECONDS_BETWEEN_NOTES = 20.0

Features = TextFeatures | VideoFeatures


@dataclasses.dataclass(frozen=True)
class CachedSplit:
    """Stored features of a split.

    Attributes:
        split: The split.
        captions: Its captions that are stored, in their order.
        texts: Features of these captions.
        videos: Features of its videos.
    """

    split: PreparedSplit
    captions: Captions
    texts: StoredFeatures
    videos: StoredFeatures

    @property
    def text_features(self) -> TextFeatures:
        """All captions, [Nt, …]; the arrays are memory-mapped."""
        return TextFeatures(
            **{"id": example_ids(self.captions.ids), "words": None, **self.texts.arrays},
            extra=dict(self.captions.extra),
        )

    @property
    def video_features(self) -> VideoFeatures:
        """All videos, [Nv, …]; the arrays are memory-mapped, but for the tokens of another encoder."""
        ids = example_ids(self.split.video_ids)
        tokens = self.split.tokens
        extra = {} if tokens is None else {"tokens": tokens(np.arange(len(ids)))}
        return VideoFeatures(**{"id": ids, "patches": None, **self.videos.arrays}, extra=extra)

    def training_batches(self, batch_size: int, seed: int) -> grain.MapDataset:
        """Build the endless dataset of training batches that `OnFeatures` reads, in the order of `train_dataset`."""
        rows = shuffled_rows(
            self.split,
            batch_size=batch_size,
            seed=seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        captions = self.captions
        return rows.map(
            FeatureLoader(
                text_id=example_ids(captions.ids),
                video_id=example_ids(self.split.video_ids),
                texts=self.texts,
                videos=self.videos,
                text_video=captions.text_video,
                text_extra=captions.extra,
                tokens=self.split.tokens,
            )
        )


def feature_tables(
    system: System, params: Any, split: str, rows: tuple[int, int], made_from: Mapping[str, Any]
) -> tuple[FeatureTable, FeatureTable]:
    """Describe the tables of a split: captions, and videos.

    Args:
        system: The head says which states are stored: words and patches only where it reads them.
        params: Of the system, arrays or their shapes.
        split: Name of the split.
        rows: Numbers of captions and videos.
        made_from: What the features depend on besides the sizes of a caption and a video.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    leaves, structure = jax.tree.flatten(shapes)
    texts, videos = _encoded_forms(system, structure, tuple(leaves))
    return (
        FeatureTable("captions", split, rows[0], texts, {**made_from, "max_words": system.max_words}),
        FeatureTable("videos", split, rows[1], videos, {**made_from, "max_frames": system.max_frames}),
    )


@functools.lru_cache(maxsize=8)  # the encoders are traced, and every split of a system asks
def _encoded_forms(
    system: System, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> tuple[dict[str, ArrayForm], dict[str, ArrayForm]]:
    """Arrays of a caption and of a video, by the shapes of the parameters."""
    params = jax.tree.unflatten(structure, leaves)
    ids, side = jnp.arange(1, dtype=jnp.uint32), system.clip.config.image_size
    tokens = jax.ShapeDtypeStruct((1, system.max_words), jnp.int32)
    frames = jax.ShapeDtypeStruct((1, system.max_frames, side, side, 3), jnp.uint8)
    mask = jax.ShapeDtypeStruct((1, system.max_frames), jnp.bool_)
    text = jax.eval_shape(system.encode_text, params, ids, tokens)
    video = jax.eval_shape(system.encode_video, params, ids, frames, mask)
    return _forms(text), _forms(video)


def _arrays(features: Features) -> dict[str, Any]:
    """Return the arrays of features that are stored: all but ids and extra, which the dataset holds."""
    fields = {name: value for name, value in vars(features).items() if name not in ("id", "extra")}
    return {name: value for name, value in fields.items() if value is not None}


def _forms(features: Features) -> dict[str, ArrayForm]:
    return {
        name: ArrayForm(tuple(leaf.shape[1:]), jnp.dtype(leaf.dtype).name) for name, leaf in _arrays(features).items()
    }


def cached_bytes(config: Any, system: System, shapes: Any, splits: Mapping[str, tuple[int, int]]) -> int:
    """Compute the size of all features that a run stores.

    Args:
        config: Resolved.
        system: Of the config.
        shapes: Of its parameters.
        splits: By split, the numbers of (clips, captions).
    """
    total = 0
    for name, (clips, captions) in splits.items():
        texts = clips if config.queries == "first" and name != "train" else captions
        total += sum(table.bytes for table in feature_tables(system, shapes, name, (texts, clips), {}))
    return total


def megabytes(size: int) -> str:
    """Write a number of bytes in MB."""
    return f"{max(size / 1e6, 0.1):,.1f} MB" if size < 1e7 else f"{size / 1e6:,.0f} MB"


def cached_split(
    experiment: Experiment,
    params: Any,
    name: str,
    queries: str = "all",
    *,
    mesh: jax.sharding.Mesh | None = None,
    progress: Progress = no_progress,
) -> CachedSplit:
    """Open the stored features of a split, which are encoded first where they are not there.

    An encoding that was interrupted continues. A process that finds another one encoding the same waits for it. Of
    several processes of one run the first encodes.

    Args:
        experiment: Its config, opened.
        params: {"clip": …}, of which the features are computed.
        name: The split.
        queries: Captions, as in `PreparedSplit.queries`.
        mesh: Devices that share the work, in a run of one process.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        UserError: Stored features are damaged, or the disk cannot hold them.
    """
    system, split = experiment.system, experiment.dataset.split(name)
    captions = split.queries(queries)
    clip = to_host(params["clip"])
    tables = feature_tables(
        system,
        {"clip": clip},
        name,
        (len(captions), len(split.video_ids)),
        {
            "data": _digest(json.dumps(experiment.dataset.manifest, sort_keys=True).encode()),
            "queries": queries,
            "clip": {
                key: value
                for key, value in dataclasses.asdict(system.clip.config).items()
                if key not in ("remat", "attention")
            },
            "parameters": experiment.parameter_digest.of(params["clip"], clip),
        },
    )
    encoding = _Encoding(experiment, split, queries, clip, None if jax.process_count() > 1 else mesh)
    stored = []
    for table, encode in zip(tables, (encoding.texts, encoding.videos), strict=True):
        folder = table.folder(experiment.dataset.directory)
        if not jax.process_index() and not folder.is_dir():
            _make(table, folder, encode, encoding.batch_size(table.rows), progress)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(f"the features in {folder.name} are there")
        stored.append(StoredFeatures.open(folder, table))
    return CachedSplit(split, captions, *stored)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Encoding:
    """Encoders over a split from any row on. clip: parameters in host memory."""

    experiment: Experiment
    split: PreparedSplit
    queries: str
    clip: Any
    mesh: jax.sharding.Mesh | None

    def batch_size(self, rows: int) -> int:
        """Rows that are encoded at a time, of a table with so many."""
        parts = 1 if self.mesh is None else self.mesh.size
        return batch_rows(rows, self.experiment.config.evaluation.batch_size, parts)

    @functools.cached_property
    def _params(self) -> Any:
        params = {"clip": self.clip}
        return jax.device_put(params) if self.mesh is None else to_all_devices(params, self.mesh)

    def texts(self, start: int, progress: Progress) -> Iterator[Features]:
        """Encode captions from row `start` on, a multiple of the batch size."""
        encode, size = make_encode_text(self.experiment.system), self.batch_size(len(self.split.queries(self.queries)))
        batches = text_batches(self.split, self.experiment.tokenizer, batch_size=size, queries=self.queries)
        rest = itertools.islice(batches, start // size, None)
        return encoded_batches(functools.partial(encode, self._params), map(Devices(self.mesh).batch, rest), progress)

    def videos(self, start: int, progress: Progress) -> Iterator[Features]:
        """Encode videos from row `start` on."""
        encode, config = make_encode_video(self.experiment.system), self.experiment.config
        batches = video_batches(
            self.split,
            batch_size=self.batch_size(len(self.split.video_ids)),
            max_frames=config.max_frames,
            workers=config.data.workers,
            between=(start, len(self.split.video_ids)),
        )
        with contextlib.closing(batches):
            yield from encoded_batches(
                functools.partial(encode, self._params), map(Devices(self.mesh).batch, batches), progress
            )


Encode = Callable[[int, Progress], Iterator[Features]]


def _make(table: FeatureTable, folder: Path, encode: Encode, batch_size: int, progress: Progress) -> None:
    """Write a table unless another process has done it in the meantime."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f".{folder.name}.lock")
        with waiting_lock(file, f"encodes {table.split} {table.side}"):
            if not folder.is_dir():
                _write(table, folder, encode, batch_size, progress)
                file.unlink(missing_ok=True)  # whoever waits for it finds the folder
    except OSError as error:
        raise UserError(
            f"cannot write the features of {table.split} {table.side} ({megabytes(table.bytes)}) into "
            f"{folder.parent}: {error.strerror}; make room there, or set config.cached_features to False"
        ) from error


def _write(table: FeatureTable, folder: Path, encode: Encode, batch_size: int, progress: Progress) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    done = _rows_done(partial, table) // batch_size * batch_size
    free = shutil.disk_usage(folder.parent).free
    needed = table.bytes // table.rows * (table.rows - done)
    if needed > free:
        raise UserError(
            f"the features of {table.split} {table.side} need {megabytes(needed)}, and {folder.parent} has "
            f"{megabytes(free)} left; make room there, or set config.cached_features to False"
        )
    if not done:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    began = done

    def report(_: str, rows: int, of: int) -> None:
        del of
        progress(f"encoding {table.split} {table.side}", began + rows, table.rows)

    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context(_array(partial, name, form, table.rows, done))
            for name, form in table.arrays.items()
        }
        noted = time.monotonic()
        for features in encode(done, report):
            for name, leaf in _arrays(features).items():
                files[name].write(np.ascontiguousarray(leaf).tobytes())
            done += len(features.id)
            if time.monotonic() - noted > SECONDS_BETWEEN_NOTES:
                _to_disk(files)
                write_atomically(partial / DONE_FILE, json.dumps({"rows": done}).encode())
                noted = time.monotonic()
        _to_disk(files)
    write_atomically(partial / HEADER_FILE, json.dumps(table.header, indent=1).encode())
    (partial / DONE_FILE).unlink(missing_ok=True)
    partial.rename(folder)


def _rows_done(partial: Path, table: FeatureTable) -> int:
    """Rows of an unfinished table that are certainly on the disk; 0 where that is not known."""
    try:
        rows = int(json.loads((partial / DONE_FILE).read_text())["rows"])
        sizes = [array_file(partial, name).stat().st_size for name in table.arrays]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    enough = all(size >= rows * form.row_bytes for size, form in zip(sizes, table.arrays.values(), strict=True))
    return rows if enough else 0


@contextlib.contextmanager
def _array(folder: Path, name: str, form: ArrayForm, rows: int, done: int) -> Iterator[BinaryIO]:
    """Open the file of an array behind the rows that are done."""
    path = array_file(folder, name)
    with path.open("r+b" if done else "wb") as file:
        np.lib.format.write_array_header_1_0(file, array_header(form, rows))
        file.seek(done * form.row_bytes, os.SEEK_CUR)
        file.truncate()
        yield file


def _to_disk(files: Mapping[str, BinaryIO]) -> None:
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
