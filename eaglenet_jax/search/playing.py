"""Playback of parts of videos in a browser: the files themselves if it can play them, else a small copy."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.stream import Disposition
from PIL import Image

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.search.video_reader import THUMBNAIL, VideoReader, as_jpeg

# Codecs that Chromium, Firefox and Safari all play, by container.
PLAYABLE = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), ("h264",)),
    ".webm": ("vp8", "vp9", "av1"),
}
MOST_HEIGHT = 360  # of a copy, pixels
MOST_SECONDS = 60.0
Version = tuple[int, int]
"""Modification time of a file in nanoseconds, and its size in bytes: the key of what is cached about it."""


def plays_in_browsers(path: str) -> bool:
    """Return whether a file needs no copy. False also for one that cannot be opened."""
    codecs = PLAYABLE.get(Path(path).suffix.lower(), ())
    try:
        return bool(codecs) and _has_codec(path, codecs, _version(path))
    except OSError:
        return False


def picture_of(path: str, time: float) -> bytes:
    """Return a small JPEG of the picture that a video shows at `time` in seconds.

    Raises:
        DecodeError: There is none.
    """
    with _reported(path), VideoReader(Path(path)) as video:
        pictures = video.at([time])
        if not pictures:
            raise DecodeError(f"{path} has no picture at {time:.1f} s now")
        small = Image.fromarray(pictures[0])
    small.thumbnail((THUMBNAIL[0] // 2, THUMBNAIL[1] // 2))
    return as_jpeg(small)


def copy_of_moment(path: str, start: float, end: float) -> bytes:
    """Return an MP4 file (H.264, no sound) of an interval of a video; its times start at 0.

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
def _has_codec(path: str, codecs: tuple[str, ...], version: Version) -> bool:
    try:
        with av.open(path) as container:
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            return bool(streams) and streams[0].codec_context.name in codecs
    except (av.error.FFmpegError, OSError):
        return False


@functools.lru_cache(maxsize=32)
def _copied(path: str, start: float, end: float, version: Version) -> bytes:
    content = io.BytesIO()
    with VideoReader(Path(path)) as video, av.open(content, "w", format="mp4") as copy:
        stream = None
        for time, frame in video.between(start, end):
            if stream is None:
                # H.264 needs even sizes.
                height = min(MOST_HEIGHT, frame.height) // 2 * 2
                width = max(2, round(frame.width * height / frame.height / 2) * 2)
                stream = copy.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, 1000)
                stream.options = {"preset": "ultrafast", "crf": "23"}
            shown = frame.reformat(stream.width, stream.height, "yuv420p")
            shown.pts, shown.time_base = max(0, round((time - start) * 1000)), Fraction(1, 1000)
            copy.mux(stream.encode(shown))
        if stream is None:
            raise DecodeError(f"{path} has nothing to show between {start:.1f} and {end:.1f} s")
        copy.mux(stream.encode())
    return content.getvalue()
