"""Resumable cache of decoded videos: one atomically written file a video, so a killed run loses only its last few."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

from data_prep.annotations import VideoEntry
from data_prep.parallel import map_in_processes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.data.decode import JPEG_QUALITY, DecodedVideo, DecodeError, decode
from eaglenet_jax.errors import UserError

# Part of every key: increase it when the same settings no longer give the same frames, or
# their times, which records before 3 lack.
CACHE_VERSION = 3
PARTS = "by the player's times"  # how parts of files are cut, in the keys of such videos alone


@dataclasses.dataclass(frozen=True)
class FrameSettings:
    """Settings of the stored frames of a video; the last three as in `decode`.

    Attributes:
        fps: Frames a second.
        size: Side of a frame in pixels.
        first_seconds: Part of the video that is used, None for all.
        timestamps: Sample by the frames' own times.
        as_shown: Store pictures as a player shows them.
    """

    fps: float
    size: int
    first_seconds: float | None = None
    timestamps: bool = False
    as_shown: bool = False

    def as_dict(self) -> dict[str, float | int]:
        """Return the settings for the manifest and for keys, without unset ones, so that old records keep keys."""
        more = {"first_seconds": self.first_seconds, "timestamps": self.timestamps, "as_shown": self.as_shown}
        always = {"fps": self.fps, "size": self.size, "jpeg_quality": JPEG_QUALITY}
        return always | {name: value for name, value in more.items() if value}


def record_path(cache_dir: Path, entry: VideoEntry, settings: FrameSettings) -> Path:
    """Return the file of the video's record. The key covers id, settings, and the source file's size and time."""
    status = entry.path.stat()
    key = [CACHE_VERSION, entry.video_id, settings.as_dict(), status.st_size, status.st_mtime_ns]
    key += [] if entry.clip is None else [entry.clip, PARTS]
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    return cache_dir / name[:2] / f"{name}.frames"


def write_record(path: Path, video: DecodedVideo) -> None:
    """Write a record: one line of JSON (`provenance`, the frames' `lengths` in bytes), then the frames concatenated."""
    header = {"provenance": video.provenance, "lengths": [len(frame) for frame in video.frames]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, b"\n".join((json.dumps(header).encode(), b"".join(video.frames))))


def read_record(path: Path) -> DecodedVideo:
    """Read a record written by `write_record`.

    Raises:
        ValueError: The file has another length than its header states.
    """
    header_line, frames = path.read_bytes().split(b"\n", 1)
    header = json.loads(header_line)
    ends = [0]
    for length in header["lengths"]:
        ends.append(ends[-1] + length)
    if ends[-1] != len(frames):
        raise ValueError(f"{path} holds {len(frames)} bytes of frames, its header says {ends[-1]}")
    return DecodedVideo(tuple(frames[a:b] for a, b in itertools.pairwise(ends)), header["provenance"])


def decode_entry(entry: VideoEntry, settings: FrameSettings) -> DecodedVideo:
    """Decode a video of a dataset, of its file the part that it is.

    Raises:
        DecodeError: Nothing can be decoded.
    """
    return decode(
        entry.path,
        fps=settings.fps,
        size=settings.size,
        first_seconds=settings.first_seconds,
        timestamps=settings.timestamps,
        as_shown=settings.as_shown,
        part=entry.clip,
    )


def decode_into(entry: VideoEntry, cache_dir: Path, settings: FrameSettings) -> tuple[str, str | None]:
    """Decode one video into its record; return (video id, reason of failure or None)."""
    try:
        video = decode_entry(entry, settings)
        path = record_path(cache_dir, entry, settings)
    except DecodeError as error:
        return entry.video_id, str(error)
    except FileNotFoundError:
        return entry.video_id, "the file vanished while it was read"
    write_record(path, video)
    return entry.video_id, None


class FillCache(Protocol):
    """Function that fills a cache: by processes (`fill_cache`) or elsewhere. Returns video id → reason of failure."""

    def __call__(
        self,
        entries: Sequence[VideoEntry],
        cache_dir: Path,
        settings: FrameSettings,
        *,
        workers: int | None = None,
        progress: bool = True,
    ) -> dict[str, str]: ...


def fill_cache(
    entries: Sequence[VideoEntry],
    cache_dir: Path,
    settings: FrameSettings,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, str]:
    """Decode the videos that are not in the cache; return video id → reason for files that cannot be decoded.

    Raises:
        UserError: The system ended a decoding process.
    """
    failures = {entry.video_id: f"no file at {entry.path}" for entry in entries if not entry.path.is_file()}
    present = (entry for entry in entries if entry.video_id not in failures)
    jobs = [entry for entry in present if not record_path(cache_dir, entry, settings).exists()]
    results = map_in_processes(
        functools.partial(decode_into, cache_dir=cache_dir, settings=settings),
        jobs,
        workers=workers,
        title="Decoding videos",
        progress=progress,
        is_failure=lambda result: result[1] is not None,
    )
    try:
        return failures | {video_id: reason for video_id, reason in results if reason is not None}
    except BrokenProcessPool as error:
        raise UserError(
            "a decoding process was ended by the system, for lack of memory or by a file that breaks the decoder; run"
            " again to continue, with --workers=1 to see which file it is"
        ) from error
