"""Playback of parts of videos in a browser: the files themselves if it plays them as they are, else a small copy."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from eaglenet_jax.data.video_picture import display_matrix, is_turned_only
from eaglenet_jax.data.video_source import DecodeError, VideoSource, picture_streams
from eaglenet_jax.search.previews import as_strip
from eaglenet_jax.search.video_reader import STANDS_SECONDS, VideoReader

# The containers behind the suffixes, by a part of FFmpeg's name: browsers look at the content.
CONTAINERS = {".webm": "webm"}
# Codecs that Chromium, Firefox and Safari all play, by container; of H.264 only 8 bits and 4:2:0.
PLAYABLE = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), ("h264",)),
    ".webm": ("vp8", "vp9", "av1"),
}
PLAYABLE_PIXELS = ("yuv420p", "yuvj420p")
BROWSERS_START = 0.1  # browsers do not all begin at the container's start: it has to be within so many seconds of 0
MOST_HEIGHT = 360  # of a copy, pixels
MOST_SECONDS = 60.0
COPY_RATE = 30
STANDING_STEP = 1.0  # a picture that stands is repeated after so many seconds, so that players can seek
BT709 = 1  # in the tables of ITU-T H.273, for primaries, transfer and matrix
Version = tuple[int, int]
"""Modification time of a file in nanoseconds, and its size in bytes: the key of what is cached about it."""


def plays_in_browsers(path: str) -> bool:
    """Return whether browsers show a file as it is indexed, without a copy. False also if it cannot be opened."""
    codecs = PLAYABLE.get(Path(path).suffix.lower(), ())
    try:
        container = CONTAINERS.get(Path(path).suffix.lower(), "mp4")
        return bool(codecs) and _plays(path, container, codecs, _version(path))
    except OSError:
        return False


def picture_of(path: str, time: float) -> bytes:
    """Return a small WebP of the picture that a video shows at `time` in seconds.

    Raises:
        DecodeError: There is none.
    """
    with _reported(path):
        return _strip(path, (time,), _version(path))


def strip_of(path: str, times: Sequence[float]) -> bytes:
    """Return the pictures that a video shows at `times` as one WebP, side by side, each of `previews.tile_size`.

    A time after the end repeats the last picture.

    Args:
        path: The file.
        times: Seconds, ascending.

    Raises:
        DecodeError: There is no picture.
    """
    with _reported(path):
        return _strip(path, tuple(times), _version(path))


def copy_of_moment(path: str, start: float, end: float) -> bytes:
    """Return an MP4 file (H.264, no sound) of an interval of a video; its times start at 0.

    Before the first picture of the video stands the first, as in `VideoReader.at`.

    Raises:
        DecodeError: There is nothing to show.
    """
    with _reported(path):
        return _copied(path, start, min(end, start + MOST_SECONDS), _version(path))


def _version(path: str) -> Version:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    """Convert the errors that libraries raise on a file that has changed to `DecodeError`."""
    try:
        yield
    except (OSError, ValueError, av.error.FFmpegError) as error:
        raise DecodeError(f"{path} cannot be shown: {getattr(error, 'strerror', None) or error}") from error


@functools.lru_cache(maxsize=1024)
def _plays(path: str, container: str, codecs: tuple[str, ...], version: Version) -> bool:
    try:
        with VideoSource(Path(path)) as source:
            if container not in source.container.format.name:
                return False
            context, start = source.stream.codec_context, source.container.start_time or 0
            if context.name not in codecs or (context.name == "h264" and context.pix_fmt not in PLAYABLE_PIXELS):
                return False
            if source.stream is not picture_streams(source.container)[0] or abs(start / av.time_base) > BROWSERS_START:
                return False
            first = next(source.frames(), None)
            return first is not None and is_turned_only(display_matrix(first[1]))
    except (DecodeError, av.error.FFmpegError, OSError):
        return False


@functools.lru_cache(maxsize=1024)
def _strip(path: str, times: tuple[float, ...], version: Version) -> bytes:
    with VideoReader(Path(path)) as video:
        pictures = [Image.fromarray(picture) for picture in video.at(times)]
    if not pictures:
        raise DecodeError(f"{path} has no picture at {times[0] if times else 0:.1f} s now")
    return as_strip(pictures, len(times))


@functools.lru_cache(maxsize=32)
def _copied(path: str, start: float, end: float, version: Version) -> bytes:
    content = io.BytesIO()
    with VideoReader(Path(path)) as video, av.open(content, "w", format="mp4") as copy:
        encoder: _Encoder | None = None
        for time, picture in video.between(start, end):
            late = time - start
            if encoder is None:
                encoder = _Encoder(copy, *picture.shape[:2])
                if late > STANDS_SECONDS:  # players do not all wait for the first picture
                    encoder.add(0.0, picture)
            encoder.add(late, picture)
        if encoder is None:
            raise DecodeError(f"{path} has nothing to show between {start:.1f} and {end:.1f} s")
        encoder.end(min(end, max(video.length, start)) - start)
    return content.getvalue()


class _Encoder:
    """H.264 with the colours of BT.709, in the limited range, which every player understands."""

    def __init__(self, copy: av.container.OutputContainer, height: int, width: int) -> None:
        self._copy = copy
        self._height = max(2, min(MOST_HEIGHT, height) // 2 * 2)  # H.264 needs even sizes
        self._width = max(2, round(width * self._height / height / 2) * 2)
        stream = copy.add_stream("libx264", rate=COPY_RATE)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, 1000)
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = int(ColorRange.MPEG)
        stream.options = {"preset": "ultrafast", "crf": "23"}
        self._stream, self._last = stream, -1.0
        self._picture: np.ndarray | None = None

    def add(self, time: float, picture: np.ndarray) -> None:
        """Show a picture from `time` in seconds on."""
        self._stand(time)
        self._put(max(0.0, time), picture)

    def end(self, time: float) -> None:
        """Let the last picture stand until `time` in seconds, and finish."""
        self._stand(time - 1 / COPY_RATE)
        if self._picture is not None and time - 1 / COPY_RATE > self._last + 1 / COPY_RATE:
            self._put(time - 1 / COPY_RATE, self._picture)
        self._copy.mux(self._stream.encode())

    def _stand(self, until: float) -> None:
        while self._picture is not None and self._last + STANDING_STEP < until:
            self._put(self._last + STANDING_STEP, self._picture)

    def _put(self, time: float, picture: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        small = frame.reformat(
            self._width,
            self._height,
            "yuv420p",
            dst_colorspace=int(Colorspace.ITU709),
            dst_color_range=int(ColorRange.MPEG),
        )
        tick = round(time * 1000)
        if tick > round(self._last * 1000):
            small.pts, small.time_base = tick, Fraction(1, 1000)
            self._copy.mux(self._stream.encode(small))
            self._last, self._picture = tick / 1000, picture
