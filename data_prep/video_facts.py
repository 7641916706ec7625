"""Facts about single video files: streams, clock, geometry, rate and damage, from one pass over every frame."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from av.stream import Disposition
from PIL import Image

from data_prep.contact_sheet import CELL, MOST
from eaglenet_jax.data.frame_sampling import frame_indices
from eaglenet_jax.data.video_clock import TICK_SECONDS, next_due
from eaglenet_jax.data.video_picture import HDR, display_matrix, is_combed, is_turned_only, pixel_aspect, shown
from eaglenet_jax.data.video_source import DecodeError, VideoSource, picture_streams, single_pictures
from eaglenet_jax.errors import UserError

VARYING = 0.1  # gaps between pictures that differ by more than this share, and more than rounding, vary
RANGES = {0: "range not stated", 1: "limited range", 2: "full range"}
MATRICES = {1: "BT.709", 2: "matrix not stated", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}


@dataclasses.dataclass(frozen=True)
class Rate:
    """Rate of a video's pictures.

    Attributes:
        stated: Pictures a second that the file states; 0 if none.
        shortest: Shortest time between two pictures, seconds; 0 of a single one.
        longest: Longest time between two.
        varies: Whether they differ by more than rounding.
        counting_off: Most seconds by which a picture that counting takes for second k is off, of the seconds that it
            finds; None without a stated rate.
        counted: Pictures that counting keeps at one a second.
        by_time: Pictures that their times give at one a second.
    """

    stated: float
    shortest: float
    longest: float
    varies: bool
    counting_off: float | None
    counted: int
    by_time: int


def rate_of(times: Sequence[float], stated: float, lost: int = 0) -> Rate:
    """Compare the times of pictures, ascending seconds, with the rate that a file states.

    Args:
        times: Seconds of all pictures.
        stated: Pictures a second that the file states, 0 if none.
        lost: Pictures that were lost: so many gaps are not the file's.
    """
    gaps = np.diff(np.asarray(times, float))
    shortest, longest = (float(gaps.min()), float(gaps.max())) if gaps.size else (0.0, 0.0)
    usual = float(np.median(gaps)) if gaps.size else 0.0
    varies = int((np.abs(gaps - usual) > max(2.5 * TICK_SECONDS, VARYING * usual)).sum()) > lost
    off, counted = None, 0
    if stated > 0 and math.isfinite(stated) and len(times):
        kept = frame_indices(stated, len(times))
        counted = len(kept)
        off = float(max(abs(times[number] - times[0] - second) for second, number in enumerate(kept)))
    return Rate(stated, shortest, longest, varies, off, counted, len(by_time(times)))


def by_time(times: Sequence[float]) -> list[int]:
    """Return the numbers of the first pictures at or after every second."""
    kept, due = [], 0.0
    for number, time in enumerate(times):
        if time + TICK_SECONDS >= due:
            kept.append(number)
            due = next_due(time, 1)
    return kept


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """Facts about a file that was read to its end.

    Attributes:
        path: The file.
        lines: Facts, a line each.
        warnings: What is wrong with it or treated in a special way, a line each.
        error: Why it gives no picture, or None.
        is_incomplete: Whether a part of it is lost.
        rate: Rate of its pictures, None without any.
        times: Seconds of the sampled pictures.
        shots: Seconds and small copy [H, W, 3] uint8 RGB of sampled pictures, spread over the length.
    """

    path: str
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    is_incomplete: bool = False
    rate: Rate | None = None
    times: tuple[float, ...] = ()
    shots: tuple[tuple[float, np.ndarray], ...] = dataclasses.field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the pictures, for JSON."""
        rate = None if self.rate is None else dataclasses.asdict(self.rate)
        names = ("path", "lines", "warnings", "error", "is_incomplete", "times")
        return {name: getattr(self, name) for name in names} | {"rate": rate}


def examine_video(path: Path, fps: float = 1.0) -> VideoFacts:
    """Read a whole file and return its facts; a file that gives no picture has `error`.

    Raises:
        UserError: There is no such file.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give video files")
    try:
        with VideoSource(path) as source:
            return _examined(path, source, fps)
    except (DecodeError, av.error.FFmpegError, OSError) as error:
        return VideoFacts(str(path), error=getattr(error, "strerror", None) or str(error))


def _examined(path: Path, source: VideoSource, fps: float) -> VideoFacts:
    times: list[float] = []
    kept_times: list[float] = []
    shots: list[tuple[float, np.ndarray]] = []
    size: tuple[int, int] | None = None
    stride = 1
    due, interlaced, combed, first = 0.0, 0, 0, None
    for time, frame in source.frames():
        first = first or frame
        times.append(time)
        interlaced += frame.interlaced_frame
        if time + TICK_SECONDS >= due:
            combed += frame.interlaced_frame and is_combed(frame.to_ndarray(format="rgb24"))
            kept_times.append(time)
            if len(kept_times) % stride == 1 or stride == 1:
                picture = shown(frame, source.stream)
                size = size or (picture.shape[0], picture.shape[1])
                shots.append((time, _small(picture)))
            if len(shots) > 2 * MOST:  # of a long film only some are kept
                shots, stride = shots[::2], stride * 2
            due = next_due(time, fps)
    if first is None:
        return VideoFacts(str(path), error=source.incomplete() or "it has no frames")
    rate = rate_of(times, source.rate, source.losses.packets)
    lines = [
        f"{source.container.format.name}, {path.stat().st_size / 1e6:.1f} MB, states {source.announced:.2f} s",
        *_streams(source),
        f"{len(times)} pictures from {times[0]:.3f} to {source.clock.end:.3f} s, {rate.stated:.3f} a second stated",
        *_geometry(source, first, size or (first.height, first.width)),
        f"indexed at {fps:g} a second: {len(kept_times)} pictures",
    ]
    warnings = [*_rate_warnings(rate, times), *source.notes()]
    if source.clock.reordered:
        ordered = f"{source.clock.reordered} of {len(times)} times that FFmpeg makes up are not after the one before"
        container = source.container.format.name.upper()
        warnings.append(f"{container} stores no times of pictures: {ordered}; those of decoding are used, in order")
    missing = source.incomplete()
    if missing:
        warnings.append(f"{missing}; {len(times)} pictures came through")
    if first.color_trc in HDR:
        warnings.append(f"HDR ({HDR[first.color_trc]}): mapped to SDR by libswscale")
    if interlaced:
        what = (
            f"{combed} of {len(kept_times)} sampled pictures are combed: one field is used"
            if combed
            else "no combs seen"
        )
        warnings.append(f"{interlaced} of {len(times)} pictures are interlaced; {what}")
    if source.clock.reached > source.clock.end + 1 and not source.clock.jumps:
        until = f"until {source.clock.reached:.1f} s"
        warnings.append(f"the sound goes on {until}: the last picture stands, which a search index shows every second")
    return VideoFacts(
        str(path), tuple(lines), tuple(warnings), None, bool(missing), rate, tuple(kept_times), tuple(shots)
    )


def _streams(source: VideoSource) -> list[str]:
    lines = []
    pictures = {stream.index for stream in picture_streams(source.container)}
    for stream in source.container.streams:
        context = getattr(stream, "codec_context", None)
        parts = [f"stream {stream.index}: {stream.type} {context.name if context else 'unknown codec'}"]
        if stream.type == "video" and context:
            parts.append(f"{context.width} × {context.height} {context.pix_fmt}")
        flags = {"default": Disposition.default, "attached picture": Disposition.attached_pic}
        parts += [name for name, flag in flags.items() if stream.disposition & flag]
        if len(pictures) > 1 and stream.index in pictures:
            parts += ["a single picture"] * (stream.index in single_pictures(source.container, stream.index))
        if stream.index == source.stream.index:
            parts.append("← this one")
        lines.append(", ".join(parts))
    return lines


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail(CELL)
    return np.asarray(image)


def _geometry(source: VideoSource, frame: av.VideoFrame, size: tuple[int, int]) -> list[str]:
    aspect, matrix = pixel_aspect(frame, source.stream), display_matrix(frame)
    parts = [f"{frame.width} × {frame.height} coded"]
    if aspect != 1:
        parts.append(f"pixels {aspect.numerator}:{aspect.denominator}")
    if matrix is not None and matrix.any():
        parts.append(f"turned by {frame.rotation} degrees" + ("" if is_turned_only(matrix) else ", mirrored"))
    colours = f"{MATRICES.get(frame.colorspace, f'matrix {frame.colorspace}')}, {RANGES.get(frame.color_range, '?')}"
    return [f"shown as {size[1]} × {size[0]} ({', '.join(parts)}); {colours}"]


def _rate_warnings(rate: Rate, times: Sequence[float]) -> list[str]:
    lines = []
    if times[0] > 1:
        lines.append(f"pictures begin at {times[0]:.1f} s, after the sound")
    if rate.varies:
        off = ""
        if rate.counting_off is not None:
            off = f"; counting frames at {int(rate.stated) or 1} a second is off by up to {rate.counting_off:.1f} s"
            off += f" and keeps {rate.counted} pictures, times keep {rate.by_time}"
        lines.append(f"the rate is not constant: {rate.shortest:.3f} to {rate.longest:.3f} s between pictures{off}")
    elif rate.counting_off is not None and rate.counting_off > 1:
        lines.append(f"counting frames at {int(rate.stated) or 1} a second is off by up to {rate.counting_off:.1f} s")
    return lines
