"""Results of the dataset readers, and the video entries built from them, checked before anything is decoded."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError, listed, near_path
from eaglenet_jax.wording import counted

SHOWN = 3  # ids of a long list that an error message shows


@dataclasses.dataclass(frozen=True)
class CaptionedVideo:
    """One video as a dataset's annotation files describe it. A reader returns only texts with at least one word.

    Attributes:
        video_id: Id in the dataset.
        captions: (caption id, text); empty if the files have none.
        file: Name of its file, perhaps with folders and ending; "" for the id.
        clip: (start, end) in seconds of the part of the file that is this video, end None for the file's end.
            None: all.
    """

    video_id: str
    captions: tuple[tuple[str, str], ...]
    file: str = ""
    clip: tuple[float, float | None] | None = None


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Contents of the annotation files of one variant of a dataset.

    Attributes:
        splits: Split → its videos in the files' order.
        files: Files that were read.
        absent: Split → missing files that would define it, or its captions.
        repeated: Split → ids that its files name more than once; the first is kept.
        wordless: Ids of captions without a word, which are left out.
        facts: Further counts by name, for the doctor.
    """

    splits: Mapping[str, tuple[CaptionedVideo, ...]]
    files: tuple[Path, ...]
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    repeated: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    wordless: tuple[str, ...] = ()
    facts: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class VideoEntry:
    """One video of a dataset.

    Attributes:
        video_id: Id in the dataset.
        path: Its file.
        split: Name of its split.
        captions: (caption id, text) in the dataset's order.
        intervals: Caption id → (start, end) in seconds of the file, the part of the video that the caption describes.
            Captions whose interval is not known are not in it.
        clip: (start, end) in seconds of the part of the file that is this video, end None for the file's end.
            None: all.
    """

    video_id: str
    path: Path
    split: str
    captions: tuple[tuple[str, str], ...]
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict, hash=False)
    clip: tuple[float, float | None] | None = None


def first_few(items: Sequence[str]) -> str:
    """Format a list as `a, b, c and 7 more`."""
    return listed(items, SHOWN)


def require_file(path: Path, what: str) -> None:
    """Raise UserError unless the file exists."""
    if not path.is_file():
        raise UserError(f"there is no {what} {path}; check the path{near_path(path)}")


def require_folder(path: Path, kind: str) -> None:
    """Raise UserError unless the folder exists. kind: of the files that it holds, "video" or "annotation"."""
    if not path.is_dir():
        near = near_path(path, folders=True)
        raise UserError(f"there is no {kind} folder {path}; give the folder that holds the {kind} files{near}")


def check_entries(entries: Sequence[VideoEntry]) -> None:
    """Raise UserError for the first of `entry_faults`."""
    for fault in entry_faults(entries):
        raise UserError(fault)


def entry_faults(entries: Sequence[VideoEntry]) -> Iterator[str]:
    """Say why entries cannot be prepared; doctor and build ask this alike.

    The reasons are: no videos, repeated ids, a video without a caption, a caption without words, and an interval that
    belongs to no caption of its video or is not 0 ≤ start < end.
    """
    if not entries:
        yield "The annotations name no video; check the annotation files."
    counts = collections.Counter((entry.video_id, entry.split) for entry in entries)
    yield from _repeated("video", (name for (name, _), count in counts.items() for _ in range(count) if count > 1))
    splits: dict[str, list[str]] = {}
    for video_id, split in counts:
        splits.setdefault(video_id, []).append(split)
    shared = [f"{video_id} ({' and '.join(found)})" for video_id, found in splits.items() if len(found) > 1]
    if shared:
        yield f"{counted(len(shared), 'video')} in several splits: {first_few(shared)}. Give each video one split."
    yield from _repeated("caption", (caption_id for entry in entries for caption_id, _ in entry.captions))
    uncaptioned = [entry.video_id for entry in entries if not entry.captions]
    if uncaptioned:
        videos = counted(len(uncaptioned), "video")
        yield f"{videos} without a caption: {first_few(uncaptioned)}. Remove them from the annotations."
    empty = [f"{cid} (video {entry.video_id})" for entry in entries for cid, text in entry.captions if not text.split()]
    if empty:
        yield f"{counted(len(empty), 'caption')} without words: {first_few(empty)}. Remove them or write them."
    for entry in entries:
        yield from _interval_faults(entry)


def _interval_faults(entry: VideoEntry) -> Iterator[str]:
    unknown = sorted(entry.intervals.keys() - {caption_id for caption_id, _ in entry.captions})
    if unknown:
        yield (
            f"video {entry.video_id} has intervals of captions that it has not: {first_few(unknown)}. Correct the ids."
        )
    for caption_id, (start, end) in entry.intervals.items():
        if not 0 <= start < end < math.inf:
            yield (
                f"the interval of caption {caption_id} (video {entry.video_id}) is {start} to {end} s; give a start of"
                " 0 or more and a later end."
            )


def _repeated(kind: str, ids: Iterable[str]) -> Iterator[str]:
    repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
    if repeated:
        yield f"{counted(len(repeated), f'{kind} id')} given more than once: {first_few(repeated)}. Ids must be unique."
