"""What the dataset readers return, and the entries that are built from it, checked before anything is decoded."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError

# Long lists of ids are cut in error messages.
SHOWN = 3


@dataclasses.dataclass(frozen=True)
class CaptionedVideo:
    """One video as a dataset's files describe it. `captions` holds (caption id, text); empty where the files have none.

    A reader gives every text at least one word.
    """

    video_id: str
    captions: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """What a reader found in the annotation files of one variant of a dataset.

    splits: name → videos in the files' order. files: what was read. absent: split → the files that would give it, or
    its captions. repeated: split → ids that its files name more than once; the first is kept. wordless: ids of captions
    without a word, left out. facts: further counts by name, for the doctor.
    """

    splits: Mapping[str, tuple[CaptionedVideo, ...]]
    files: tuple[Path, ...]
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    repeated: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    wordless: tuple[str, ...] = ()
    facts: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class VideoEntry:
    """One video of a dataset. `captions` holds (caption id, text) in the dataset's order."""

    video_id: str
    path: Path
    split: str
    captions: tuple[tuple[str, str], ...]


def first_few(items: Sequence[str]) -> str:
    """`a, b, c and 7 more`."""
    rest = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def require_file(path: Path, what: str) -> None:
    """Raises `UserError` unless the file is there."""
    if not path.is_file():
        raise UserError(f"No {what} at {path}; check the path.")


def require_folder(path: Path, what: str) -> None:
    """Raises `UserError` unless the folder is there."""
    if not path.is_dir():
        raise UserError(f"No {what} at {path}; give the folder that holds the video files.")


def check_entries(entries: Sequence[VideoEntry]) -> None:
    """Raises `UserError` for no videos, repeated ids, a video without a caption, and a caption of zero words."""
    if not entries:
        raise UserError("The annotations name no video.")
    _refuse_repeated("video", (entry.video_id for entry in entries))
    _refuse_repeated("caption", (caption_id for entry in entries for caption_id, _ in entry.captions))
    silent = [entry.video_id for entry in entries if not entry.captions]
    if silent:
        raise UserError(f"{len(silent)} videos have no caption: {first_few(silent)}. Remove them from the annotations.")
    empty = [f"{cid} (video {entry.video_id})" for entry in entries for cid, text in entry.captions if not text.split()]
    if empty:
        raise UserError(f"{len(empty)} captions have no words: {first_few(empty)}. Remove them or write them.")


def _refuse_repeated(kind: str, ids: Iterable[str]) -> None:
    repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(f"{len(repeated)} {kind} ids occur more than once: {first_few(repeated)}. Ids must be unique.")
