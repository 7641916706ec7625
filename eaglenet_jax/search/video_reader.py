"""Decoding of the pictures of a video file, with the times at which a player shows them."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.data.video_clock import TICK_SECONDS, next_due
from eaglenet_jax.data.video_picture import shown
from eaglenet_jax.data.video_source import DecodeError, VideoSource
from eaglenet_jax.search.previews import LARGEST, as_preview

THUMBNAIL_QUALITY = 80
# A picture that begins so long after a time is not that of the time: the one before stands there.
STANDS_SECONDS = 0.1
MOST_STANDING = 3600.0  # seconds; a damaged file may state that its next picture is shown in a million years


@dataclasses.dataclass(frozen=True)
class Picture:
    """A sampled picture.

    Attributes:
        pixels: [size, size, 3] uint8 RGB, the model's input.
        small: The thumbnail.
    """

    pixels: np.ndarray
    small: Image.Image

    @functools.cached_property
    def preview(self) -> bytes:
        """WebP for the page: encoded once for all windows that share the picture."""
        return as_preview(self.small)


def as_picture(whole: np.ndarray, size: int) -> Picture:
    """Convert a picture [H, W, 3] uint8 RGB for a model of `size` pixels."""
    small = Image.fromarray(whole)
    small.thumbnail(LARGEST)
    return Picture(resize_and_crop(whole, size), small)


def as_jpeg(image: Image.Image) -> bytes:
    """Encode an image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


class VideoReader:
    """An opened video file. Times are those of `VideoSource`, pictures those of `video_picture.shown`.

    Raises:
        DecodeError: The file cannot be opened or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        self.source = VideoSource(path)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *unused: object) -> None:
        self.source.__exit__(*unused)

    @property
    def length(self) -> float:
        """Seconds at which the last decoded picture ends: it stands while the sound goes on."""
        clock = self.source.clock
        return clock.end if clock.jumps else max(clock.end, min(clock.reached, clock.end + MOST_STANDING))

    @property
    def announced(self) -> float:
        """Duration in seconds stated by the file, 0 if it states none."""
        return self.source.announced

    def trouble(self) -> str | None:
        """Return what is missing of a file that was read to its end, and what was wrong with its times, in one line."""
        missing = self.source.incomplete()
        told = ([f"{missing}; the rest is indexed"] if missing else []) + list(self.source.notes())
        return "; ".join(told) or None

    def sampled(self, fps: float) -> Iterator[tuple[float, np.ndarray]]:
        """Generate (seconds, [H, W, 3] uint8 RGB) of the first picture at or after every k / fps seconds.

        Where there is none for longer than that, the picture that stands is generated again, for an hour at most.

        Raises:
            DecodeError: There is no picture.
        """
        due, standing = 0.0, None
        for time, frame in self.source.frames():
            if time + TICK_SECONDS < due:
                standing = frame
                continue
            if standing is not None:
                yield from self._standing(standing, due, min(time, due + MOST_STANDING) - 1 / fps, fps)
            due = next_due(time, fps)
            standing = frame
            yield time, shown(frame, self.source.stream)
        if standing is None:
            raise DecodeError(self.source.incomplete() or "it has no frames")
        yield from self._standing(standing, due, self.length - 1 / fps, fps)

    def _standing(
        self, frame: av.VideoFrame, due: float, until: float, fps: float
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Generate a picture again at every k / fps seconds from `due` to `until`."""
        if due > until + TICK_SECONDS:
            return
        picture = shown(frame, self.source.stream)
        first = round(due * fps)
        for number in range(first, math.floor((until + TICK_SECONDS) * fps) + 1):
            yield number / fps, picture

    def at(self, times: Sequence[float]) -> list[np.ndarray]:
        """Return the pictures [H, W, 3] uint8 RGB that are shown at `times` in seconds, ascending.

        A picture that begins at or just after a time is that of the time, as for FFmpeg; else the one that stands
        there. Before the first picture there is the first; after the end there is none.
        """
        wanted, pictures = list(times), []
        if not wanted:
            return []
        self.source.seek(wanted[0])
        standing = None
        for time, frame in self.source.frames():
            while wanted and time + TICK_SECONDS >= wanted[0]:
                begins = time <= wanted.pop(0) + STANDS_SECONDS
                here = frame if begins or standing is None else standing
                pictures.append(shown(here, self.source.stream))
            standing = frame
            if not wanted:
                break
        if standing is not None:
            end = self.length + TICK_SECONDS
            pictures += [shown(standing, self.source.stream) for time in wanted if time <= end]
        return pictures

    def between(self, start: float, end: float) -> Iterator[tuple[float, np.ndarray]]:
        """Generate (seconds, [H, W, 3] uint8 RGB) of every picture from `start` to `end`.

        If no picture begins just after `start`, the first one is that which stands there, at `start`.
        """
        self.source.seek(start)
        standing, any_picture = None, False
        stream = self.source.stream
        for time, frame in self.source.frames():
            if time + TICK_SECONDS < start:
                standing = frame
                continue
            if not any_picture and standing is not None and time > start + STANDS_SECONDS:
                yield start, shown(standing, stream)
            any_picture, standing = True, None
            if time + TICK_SECONDS >= end:
                return
            yield time, shown(frame, stream)
        if standing is not None and start <= self.length:
            yield start, shown(standing, stream)
