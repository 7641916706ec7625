"""A prepared dataset on disk: its captions, and random access to the frames of its videos.

`data_prep` writes it: `manifest.json`, `captions/{split}.json` in record order, and `shards/`, ArrayRecord files that
tensorflow-datasets describes and reads. TensorFlow itself is not needed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.syntax import read_syntax, syntax_arrays
from eaglenet_jax.data.vision_tokens import TokenReader, TokensHeader, tokens_folder
from eaglenet_jax.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Captions:
    """Captions of a split, video by video: dataset ids, texts, and the row of each video, `text_video` [Nt] int64.

    extra: what a system needs beside the words, dicts of arrays [Nt, ...].
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    text_video: np.ndarray
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


class FrameReader:
    """Frames of the videos of one split, by row. Opens its files at first use, anew in every process it is sent to."""

    def __init__(self, shards: Path, split: str, video_ids: tuple[str, ...], size: int) -> None:
        self.video_ids = video_ids
        self.size = size
        self._shards, self._split = shards, split

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_records"}  # open files stay here

    @functools.cached_property
    def _records(self) -> Any:
        import tensorflow_datasets as tfds  # takes a second

        records = tfds.builder_from_directory(self._shards).as_data_source(self._split)
        if len(records) != len(self.video_ids):
            raise UserError(
                f"{self._shards} holds {len(records)} videos of split {self._split!r}, its captions name"
                f" {len(self.video_ids)}; prepare the dataset again"
            )
        return records

    def frames(self, row: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames of one video: [max_frames, size, size, 3] uint8 RGB, and their mask [max_frames] bool.

        At most `max_frames` stored frames, spread by `pick_frames`; only these are decoded. Padding is zeros, False in
        the mask. Raises UserError for a record that is damaged or belongs to another preparation.
        """
        record = self._records[row]
        video_id = record["video_id"].decode() if isinstance(record["video_id"], bytes) else str(record["video_id"])
        if video_id != self.video_ids[row]:
            raise UserError(
                f"record {row} of {self._shards} is video {video_id!r}, the captions say {self.video_ids[row]!r};"
                " prepare the dataset again"
            )
        stored = record["frames"]
        frames = np.zeros((max_frames, self.size, self.size, 3), np.uint8)
        picked = pick_frames(len(stored), max_frames)
        for slot, position in enumerate(picked):
            frames[slot] = self._decode(stored[position], video_id)
        return frames, np.arange(max_frames) < len(picked)

    def _decode(self, jpeg: bytes, video_id: str) -> np.ndarray:
        try:
            frame = simplejpeg.decode_jpeg(jpeg)
        except ValueError as error:
            raise UserError(
                f"a frame of video {video_id!r} in {self._shards} is damaged ({error}); prepare again"
            ) from error
        if frame.shape != (self.size, self.size, 3):
            height, width = frame.shape[:2]
            raise UserError(
                f"a frame of video {video_id!r} in {self._shards} is {height} × {width} and not {self.size} square;"
                " prepare the dataset again"
            )
        return frame


def rows_of(extra: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Rows of all arrays of nested dicts."""
    return {name: rows_of(one, rows) if isinstance(one, Mapping) else one[rows] for name, one in extra.items()}


@dataclass(frozen=True)
class PreparedSplit:
    """One split. Rows of `video_ids`, `frame_counts` [Nv] (stored frames), `reader` and `tokens` are the same videos.

    tokens: of another vision encoder, where a system needs them.
    """

    name: str
    captions: Captions
    frame_counts: np.ndarray
    reader: FrameReader
    tokens: TokenReader | None = None

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Dataset ids of the videos, in record order."""
        return self.reader.video_ids

    def queries(self, which: str = "all") -> Captions:
        """The captions to search with: "all", or the "first" of every video (then text i belongs to video i)."""
        if which == "all":
            return self.captions
        if which != "first":
            raise UserError(f'queries is {which!r}; choose "first" (one caption a video) or "all"')
        first = np.searchsorted(self.captions.text_video, np.arange(len(self.video_ids)))
        ids, texts = self.captions.ids, self.captions.texts
        extra = rows_of(self.captions.extra, first)
        return Captions(tuple(ids[i] for i in first), tuple(texts[i] for i in first), np.arange(len(first)), extra)

    def frames(self, row: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """As `FrameReader.frames`."""
        return self.reader.frames(row, max_frames)


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared directory. `manifest` is its manifest.json.

    extra: what `Captions.extra` and `PreparedSplit.tokens` of its splits have to hold, see `with_extra`.
    """

    directory: Path
    manifest: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_words: int = 0
    token_source: str = ""

    def with_extra(
        self,
        text_extra: Mapping[str, Any],
        video_extra: Mapping[str, Any],
        max_words: int,
        token_source: str = "",
    ) -> PreparedDataset:
        """The same data, whose splits also give what a system needs beside words and frames.

        text_extra, video_extra: of the head (heads/interface.py), arrays of the wanted form with any number of rows.
        max_words: L. token_source: the encoder of "tokens". UserError, at each split, for what was not prepared.
        """
        return replace(self, extra={**text_extra, **video_extra}, max_words=max_words, token_source=token_source)

    @classmethod
    def open(cls, directory: str | Path) -> PreparedDataset:
        """Reads the manifest. Raises UserError for what is not a completely prepared directory of this format."""
        directory = Path(directory)
        if not directory.is_dir():
            raise UserError(
                f"there is no prepared dataset at {directory}: no such directory; prepare it, or correct the path"
            )
        manifest = _read_json(
            directory / "manifest.json", "is no prepared dataset, or its preparation was not finished"
        )
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != FORMAT:
            raise UserError(f"{directory} has format {found}, this program reads {FORMAT}; prepare the dataset again")
        return cls(directory, manifest)

    @property
    def fingerprint(self) -> str:
        """Changes with the ids, captions and settings of the data; a checkpoint keeps it."""
        return self.manifest["fingerprint"]

    @property
    def size(self) -> int:
        """Height and width of the stored frames."""
        return self.manifest["settings"]["size"]

    @property
    def sampling(self) -> dict[str, Any]:
        """How frames were chosen of a file besides their rate, where it is not the default: `Sampling`'s fields."""
        settings = self.manifest["settings"]
        return {name: settings[name] for name in ("first_seconds", "timestamps") if settings.get(name)}

    def left_out(self, name: str, queries: str = "all") -> tuple[int, int]:
        """(captions, videos) that a split lacks because their video was missing or could not be decoded.

        queries: as in `PreparedSplit.queries`. Zeros in a directory that was prepared before this was noted.
        """
        counts = self.manifest.get("left_out", {}).get(name, {"captions": 0, "videos": 0})
        return counts["captions" if queries == "all" else "videos"], counts["videos"]

    def split(self, name: str) -> PreparedSplit:
        """One split, its captions read. Raises UserError for a split that is not there."""
        if name not in self.manifest["splits"]:
            there = ", ".join(sorted(self.manifest["splits"]))
            raise UserError(f"{self.directory} has no split {name!r}; it has {there}")
        path = self.directory / "captions" / f"{name}.json"
        rows = _read_json(path, "is incomplete")
        captions = [(video, caption) for video, row in enumerate(rows) for caption in row["captions"]]
        expected = self.manifest["splits"][name]
        if (len(rows), len(captions)) != (expected["videos"], expected["captions"]):
            raise UserError(
                f"{path} holds {len(rows)} videos and {len(captions)} captions, the manifest says"
                f" {expected['videos']} and {expected['captions']}; prepare the dataset again"
            )
        silent = [row["video_id"] for row in rows if not row["captions"]]
        if silent:
            raise UserError(f"video {silent[0]!r} of {path} has no caption; prepare the dataset again without it")
        return PreparedSplit(
            name,
            Captions(
                tuple(caption["id"] for _, caption in captions),
                tuple(caption["text"] for _, caption in captions),
                np.array([video for video, _ in captions], np.int64),
                self._caption_extra(name, len(captions)),
            ),
            np.array([row["frames"] for row in rows], np.int64),
            FrameReader(self.directory / "shards", name, tuple(row["video_id"] for row in rows), self.size),
            self._tokens(name, len(rows)),
        )

    def _caption_extra(self, split: str, captions: int) -> dict[str, Any]:
        if "syntax" not in self.extra:
            return {}
        parses = read_syntax(self.directory, split, self.fingerprint, captions)
        return {"syntax": syntax_arrays(parses, self.extra["syntax"], self.max_words)}

    def _tokens(self, split: str, videos: int) -> TokenReader | None:
        if "tokens" not in self.extra:
            return None
        wanted = TokensHeader(self.fingerprint, self.token_source, videos, *self.extra["tokens"].shape[1:])
        return TokenReader.open(tokens_folder(self.directory, self.token_source, split), wanted)


def _read_json(path: Path, otherwise: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} {otherwise}: there is no {path.name}; prepare the dataset again") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); prepare the dataset again") from error
