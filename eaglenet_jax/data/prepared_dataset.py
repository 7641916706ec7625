"""Prepared dataset on disk: captions, and random access to the frames of videos.

`data_prep` writes it: `manifest.json`, `captions/{split}.json` in record order, and `shards/`, ArrayRecord files that
tensorflow-datasets describes and reads. TensorFlow itself is not needed.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from eaglenet_jax.data.frame_sampling import frame_times, pick_frames
from eaglenet_jax.data.syntax import behind_report, cut_report, read_syntax, syntax_arrays, word_counts
from eaglenet_jax.data.vision_tokens import TokenReader, TokensHeader, tokens_folder
from eaglenet_jax.errors import UserError, near_path

FORMAT = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captions:
    """Captions of a split, video by video.

    Attributes:
        ids: Dataset ids of the captions.
        texts: The captions.
        text_video: [Nt] int64, row of the video of each caption.
        extra: Further inputs that a head needs, dicts of arrays [Nt, ...].
        intervals: [Nt, 2] float32, start and end in seconds of the part of the video that the caption describes; NaN
            where that is not known (None: nowhere).
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    text_video: np.ndarray
    extra: Mapping[str, Any] = field(default_factory=dict)
    intervals: Any = None

    def __post_init__(self) -> None:
        if self.intervals is None:
            object.__setattr__(self, "intervals", np.full((len(self.ids), 2), np.nan, np.float32))

    def __len__(self) -> int:
        return len(self.ids)


class FrameReader:
    """Frames of the videos of one split, by row. Opens its files at first use, separately in every process."""

    def __init__(self, shards: Path, split: str, video_ids: tuple[str, ...], size: int) -> None:
        self.video_ids = video_ids
        self.size = size
        self._shards, self._split = shards, split

    def __getstate__(self) -> dict[str, Any]:
        # Open files are not sent to other processes.
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    @functools.cached_property
    def _records(self) -> Any:
        import tensorflow_datasets as tfds  # takes a second to import

        records = tfds.builder_from_directory(self._shards).as_data_source(self._split)
        if len(records) != len(self.video_ids):
            raise UserError(
                f"{self._shards} holds {len(records)} videos of split {self._split!r}, its captions name"
                f" {len(self.video_ids)}; prepare the dataset again"
            )
        return records

    def open(self) -> None:
        """Open the files now, in this thread.

        While tensorflow_datasets is imported it puts a function of its own in the place of `__import__`. A thread that
        imports anything else at that moment (jax does, while it traces) gets modules that are not what they seem.
        """
        _ = self._records

    def frames(self, row: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames of one video.

        Of the stored frames at most `max_frames`, spread by `pick_frames`, are decoded.

        Args:
            row: Row of the video.
            max_frames: M.

        Returns:
            Frames [M, size, size, 3] uint8 RGB, and their mask [M] bool. Padding is zeros, False in the mask.

        Raises:
            UserError: The record is damaged or belongs to another preparation.
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
                f"a frame of video {video_id!r} in {self._shards} is damaged ({error}); prepare the dataset again"
            ) from error
        if frame.shape != (self.size, self.size, 3):
            height, width = frame.shape[:2]
            raise UserError(
                f"a frame of video {video_id!r} in {self._shards} is {height} × {width} and not {self.size} square;"
                " prepare the dataset again"
            )
        return frame


def rows_of(extra: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Select rows of all arrays of nested dicts."""
    return {
        name: rows_of(values, rows) if isinstance(values, Mapping) else values[rows] for name, values in extra.items()
    }


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared dataset, with the same videos in the same rows of all parts.

    Attributes:
        name: Name of the split.
        captions: Captions with their videos.
        frame_counts: [Nv], stored frames of each video.
        reader: Frames of the videos.
        tokens: Tokens of another vision encoder, if a head needs them.
        fps: Frames stored a second.
        times: Video's row → seconds of its stored frames, [frames] float64, where frame k is not at k / fps seconds.
    """

    name: str
    captions: Captions
    frame_counts: np.ndarray
    reader: FrameReader
    tokens: TokenReader | None = None
    fps: float = 1.0
    times: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Dataset ids of the videos, in record order."""
        return self.reader.video_ids

    def queries(self, which: str = "all") -> Captions:
        """Return the captions to search with.

        Args:
            which: "all", or the "first" of every video (then text i belongs to video i).

        Raises:
            UserError: `which` is neither.
        """
        if which == "all":
            return self.captions
        if which != "first":
            raise UserError(f'queries is {which!r}; choose "first" (one caption a video) or "all"')
        first = np.searchsorted(self.captions.text_video, np.arange(len(self.video_ids)))
        ids, texts = self.captions.ids, self.captions.texts
        return Captions(
            tuple(ids[i] for i in first),
            tuple(texts[i] for i in first),
            np.arange(len(first)),
            rows_of(self.captions.extra, first),
            self.captions.intervals[first],
        )

    def frames(self, row: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames of one video, see `FrameReader.frames`."""
        return self.reader.frames(row, max_frames)

    def frame_times(self, row: int, max_frames: int) -> np.ndarray:
        """Return the times in seconds of the real frames that `frames` reads of one video, [m] float64, m ≤ M."""
        count = int(self.frame_counts[row])
        times = self.times[row] if row in self.times else frame_times(count, self.fps)
        return times[pick_frames(count, max_frames)]


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared directory.

    Attributes:
        directory: The directory.
        manifest: Its manifest.json.
        extra: Inputs that `Captions.extra` and `PreparedSplit.tokens` of its splits must hold, see `with_extra`.
        max_words: L.
        token_source: The encoder of the tokens.
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
        """Return the same data with the further inputs that a head needs.

        Args:
            text_extra: The head's (heads/interface.py), arrays of the wanted shape with any number of rows.
            video_extra: As `text_extra`.
            max_words: L.
            token_source: The encoder of "tokens".

        Returns:
            A dataset whose `split` raises UserError for inputs that were not prepared.
        """
        return replace(self, extra={**text_extra, **video_extra}, max_words=max_words, token_source=token_source)

    @classmethod
    def open(cls, directory: str | Path) -> PreparedDataset:
        """Read the manifest of a prepared directory.

        Raises:
            UserError: There is no directory, its preparation was not finished, or it has another format.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise UserError(
                f"there is no prepared dataset at {directory}: no such directory; prepare it, or correct the path"
                f"{near_path(directory, folders=True)}"
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
        """Hash of the ids, captions and settings of the data; checkpoints record it."""
        return self.manifest["fingerprint"]

    @property
    def size(self) -> int:
        """Height and width of the stored frames in pixels."""
        return self.manifest["settings"]["size"]

    @property
    def sampling(self) -> dict[str, Any]:
        """Fields of `Sampling` besides the frame rate that differ from their defaults."""
        settings = self.manifest["settings"]
        return {name: settings[name] for name in ("first_seconds", "timestamps", "as_shown") if settings.get(name)}

    def left_out(self, name: str, queries: str = "all") -> tuple[int, int]:
        """Count the captions and videos that a split lacks because their video was missing or could not be decoded.

        Args:
            name: Name of the split.
            queries: As in `PreparedSplit.queries`.

        Returns:
            (captions, videos). Zeros in a directory that was prepared before this was recorded.
        """
        counts = self.manifest.get("left_out", {}).get(name, {"captions": 0, "videos": 0})
        return counts["captions" if queries == "all" else "videos"], counts["videos"]

    def split(self, name: str) -> PreparedSplit:
        """Open one split and read its captions.

        Raises:
            UserError: There is no such split, or its files are incomplete.
        """
        if name not in self.manifest["splits"]:
            splits = ", ".join(sorted(self.manifest["splits"]))
            raise UserError(f"{self.directory} has no split {name!r}; choose one of {splits}")
        path = self.directory / "captions" / f"{name}.json"
        rows = _read_json(path, "is incomplete")
        captions = [(video, caption) for video, row in enumerate(rows) for caption in row["captions"]]
        expected = self.manifest["splits"][name]
        if (len(rows), len(captions)) != (expected["videos"], expected["captions"]):
            raise UserError(
                f"{path} holds {len(rows)} videos and {len(captions)} captions, the manifest says"
                f" {expected['videos']} and {expected['captions']}; prepare the dataset again"
            )
        uncaptioned = [row["video_id"] for row in rows if not row["captions"]]
        if uncaptioned:
            raise UserError(f"video {uncaptioned[0]!r} of {path} has no caption; prepare the dataset again without it")
        return PreparedSplit(
            name,
            Captions(
                tuple(caption["id"] for _, caption in captions),
                tuple(caption["text"] for _, caption in captions),
                np.array([video for video, _ in captions], np.int64),
                self._caption_extra(name, len(captions)),
                np.array([caption.get("interval", (np.nan, np.nan)) for _, caption in captions], np.float32),
            ),
            np.array([row["frames"] for row in rows], np.int64),
            FrameReader(self.directory / "shards", name, tuple(row["video_id"] for row in rows), self.size),
            self._tokens(name, len(rows)),
            self.manifest["settings"]["fps"],
            {row: times for row, video in enumerate(rows) if (times := self._times(video)) is not None},
        )

    def _times(self, video: Mapping[str, Any]) -> np.ndarray | None:
        """Seconds of a video's stored frames by its row of the captions; None where frame k is at k / fps seconds."""
        if "times" in video:
            return np.asarray(video["times"], np.float64)
        # Older folders state the frame rate instead, of captions with an interval.
        rate = video.get("source_fps")
        return frame_times(video["frames"], self.manifest["settings"]["fps"], rate) if rate else None

    def _caption_extra(self, split: str, captions: int) -> dict[str, Any]:
        if "syntax" not in self.extra:
            return {}
        parses = read_syntax(self.directory, split, self.fingerprint, captions)
        arrays = syntax_arrays(parses, self.extra["syntax"], self.max_words)
        counts = word_counts(parses, self.max_words)
        if cut := cut_report(counts, arrays):
            _warn_once(f"{self.directory}: of the captions of split {split!r}, {cut} are cut")
        if behind := behind_report(parses, counts):
            _warn_once(
                f"{self.directory}: of the captions of split {split!r}, {behind} stand behind the row of"
                f" {self.max_words} tokens and are not read"
            )
        return {"syntax": arrays}

    def _tokens(self, split: str, videos: int) -> TokenReader | None:
        if "tokens" not in self.extra:
            return None
        wanted = TokensHeader(self.fingerprint, self.token_source, videos, *self.extra["tokens"].shape[1:])
        return TokenReader.open(tokens_folder(self.directory, self.token_source, split), wanted)


@functools.cache
def _warn_once(message: str) -> None:
    """Log a warning; a split is opened several times in a run."""
    _log.warning(message)


def _read_json(path: Path, if_missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} {if_missing}: there is no {path.name}; prepare the dataset again") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); prepare the dataset again") from error
