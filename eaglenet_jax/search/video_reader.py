"""Decoding of the pictures of a video file, with the times at which a player shows them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from av.stream import Disposition
from PIL import Image

from eaglenet_jax.data.decode import CLOCK_TICK, DecodeError
from eaglenet_jax.data.transforms import resize_and_crop

THUMBNAIL = (256, 144)  # largest width and height in pixels
THUMBNAIL_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Picture:
    """A sampled picture.

    Attributes:
        pixels: [size, size, 3] uint8 RGB, the model's input.
        small: The thumbnail.
    """

    pixels: np.ndarray
    small: Image.Image


def as_picture(whole: np.ndarray, size: int) -> Picture:
    """Convert a picture [H, W, 3] uint8 RGB for a model of `size` pixels."""
    small = Image.fromarray(whole)
    small.thumbnail(THUMBNAIL)
    return Picture(resize_and_crop(whole, size), small)


def as_jpeg(image: Image.Image) -> bytes:
    """Encode an image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


class VideoReader:
    """An opened video file.

    Raises:
        DecodeError: The file cannot be opened or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._container = av.open(str(path))
        except av.error.FFmpegError as error:
            raise DecodeError(error.strerror) from error
        # The cover of a music file is a video stream of one picture.
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            self._container.close()
            raise DecodeError("it has no video stream")
        self._stream = streams[0]
        self._stream.codec_context.thread_count = 1  # several files are read at a time
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame = 1 / Fraction(rate) if rate else Fraction(0)
        self._first: Fraction | None = None
        self._decoded = 0
        self.length = 0.0
        """End of the last decoded picture in seconds."""
        self.broken: str | None = None
        """Why decoding stopped before the end of the file, None if it did not."""

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def announced(self) -> float:
        """Duration in seconds stated by the file, 0 if it states none."""
        of_stream = self._stream.duration and self._stream.time_base and self._stream.duration * self._stream.time_base
        return float(of_stream or (self._container.duration or 0) / av.time_base)

    def sampled(self, fps: float) -> Iterator[tuple[float, np.ndarray]]:
        """Generate (seconds, [H, W, 3] uint8 RGB) of the first picture at or after every k / fps seconds.

        Uses the pictures' own times; in a file without times, their number and its frame rate. A file that breaks off
        gives the pictures before that, and sets `broken`.

        Raises:
            DecodeError: There is no picture.
        """
        step, due, any_picture = 1 / Fraction(str(fps)), Fraction(0), False
        for time, frame in self._timed():
            if time + CLOCK_TICK >= due:
                due = ((time + CLOCK_TICK) // step + 1) * step
                any_picture = True
                yield float(time), _upright(frame)
        if not any_picture:
            raise DecodeError(self.broken or "it has no frames")

    def at(self, times: Sequence[float]) -> list[np.ndarray]:
        """Return the pictures [H, W, 3] uint8 RGB shown at `times` in seconds, ascending, as many as can be decoded."""
        wanted, pictures = list(times), []
        self._seek(times[0] if times else 0.0)
        for time, frame in self._timed():
            while wanted and time + CLOCK_TICK >= wanted[0]:
                pictures.append(_upright(frame))
                wanted.pop(0)
            if not wanted:
                break
        return pictures

    def between(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Generate (seconds, frame) of every frame shown from `start` to `end`."""
        self._seek(start)
        for time, frame in self._timed():
            if time + CLOCK_TICK >= end:
                return
            if time + CLOCK_TICK >= start:
                yield float(time), frame

    def _seek(self, time: float) -> None:
        """Seek to the key frame before `time`, if the file can; decoding starts there."""
        start = self._stream.start_time
        if time > 1 and start is not None and self._stream.time_base:
            self._first = start * Fraction(self._stream.time_base)
            try:
                self._container.seek(int(start + Fraction(time) / self._stream.time_base), stream=self._stream)
            except av.error.FFmpegError as error:
                raise DecodeError(f"it cannot be read at {time:.1f} s: {error.strerror}") from error

    def _timed(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        try:
            for frame in self._container.decode(self._stream):
                time = self._time(frame)
                self._decoded += 1
                self.length = max(self.length, float(time + self._frame))
                yield time, frame
        except av.error.FFmpegError as error:
            self.broken = f"decoding stopped at {self.length:.1f} s: {error.strerror}"

    def _time(self, frame: av.VideoFrame) -> Fraction:
        if frame.pts is None or frame.time_base is None:
            if not self._frame:
                raise DecodeError("it states neither times of its pictures nor a frame rate")
            return self._decoded * self._frame
        time = frame.pts * Fraction(frame.time_base)
        if self._first is None:
            self._first = time
        return max(time - self._first, Fraction(0))


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Return [H, W, 3] uint8 RGB as players show it: phones store a rotation in steps of 90 degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
