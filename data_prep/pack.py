"""Packing of cached frames and captions into ArrayRecord shards, described by tensorflow-datasets.

TensorFlow itself is not needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, read_record, record_path
from eaglenet_jax.errors import UserError, first_line

_STRING = tfds.features.Tensor(shape=(), dtype=np.object_)
_STRINGS = tfds.features.Tensor(shape=(None,), dtype=np.object_)


class FrameShards(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builder of the shards: one record a video, in the given order.

    The ArrayRecord writer of tensorflow-datasets writes groups of one record.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, splits: Mapping[str, Sequence[VideoEntry]], cache_dir: Path, settings: FrameSettings, data_dir: Path
    ):
        self._splits, self._cache_dir, self._settings = splits, cache_dir, settings
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "video_id": _STRING,
            "frames": _STRINGS,
            "caption_ids": _STRINGS,
            "captions": _STRINGS,
            "provenance": _STRING,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Sampled video frames as JPEG, with captions.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(entries) for split, entries in self._splits.items()}

    def _generate_examples(self, entries: Sequence[VideoEntry]) -> Iterator[tuple[int, dict]]:
        for index, entry in enumerate(entries):
            video = read_record(record_path(self._cache_dir, entry, self._settings))
            yield (
                index,
                {
                    "video_id": entry.video_id,
                    "frames": list(video.frames),
                    "caption_ids": [caption_id for caption_id, _ in entry.captions],
                    "captions": [text for _, text in entry.captions],
                    "provenance": json.dumps(video.provenance),
                },
            )


def pack(
    splits: Mapping[str, Sequence[VideoEntry]], cache_dir: Path, settings: FrameSettings, shards_dir: Path
) -> None:
    """Write `shards_dir` from the cache, replacing it when complete: the writer cannot resume after a kill.

    Raises:
        UserError: The disk cannot store it.
    """
    workspace = shards_dir.with_name(f".{shards_dir.name}.tmp")
    shutil.rmtree(workspace, ignore_errors=True)
    builder = FrameShards(splits, cache_dir, settings, workspace)
    try:
        with _without_tfds_chatter():
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:  # ArrayRecord's writer raises the latter
        shutil.rmtree(workspace, ignore_errors=True)
        raise UserError(
            f"cannot write the shards at {shards_dir}: {first_line(error)}; free disk space and run again, the"
            " decoded frames are kept"
        ) from error
    shutil.rmtree(shards_dir, ignore_errors=True)
    Path(builder.data_dir).rename(shards_dir)
    shutil.rmtree(workspace)


@contextlib.contextmanager
def _without_tfds_chatter() -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
