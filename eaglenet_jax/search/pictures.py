"""Pictures of a video file with the times at which a player shows them."""

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

THUMBNAIL = (256, 144)  # the largest width and height
THUMBNAIL_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Picture:
    """A sampled picture. pixels: [size, size, 3] uint8 RGB, as the model sees it. small: as a thumbnail shows it."""

    pixels: np.ndarray
    small: Image.Image


def as_picture(whole: np.ndarray, size: int) -> Picture:
    """A picture [H, W, 3] uint8 RGB for a model of `size` pixels."""
    small = Image.fromarray(whole)
    small.thumbnail(THUMBNAIL)
    return Picture(resize_and_crop(whole, size), small)


def as_jpeg(image: Image.Image) -> bytes:
    """The bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


class VideoReader:
    """A video file opened. `DecodeError` says why there is nothing to see in one that cannot be."""

    def __init__(self, path: Path) -> None:
        try:
            self._container = av.open(str(path))
        except av.error.FFmpegError as error:
            raise DecodeError(error.strerror) from error
        # The cover of a piece of music comes as a video stream of one picture.
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
        """Seconds up to the end of the last picture that was decoded."""
        self.broken: str | None = None
        """Why decoding ended before the file did."""

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def announced(self) -> float:
        """Seconds as the file says, 0 where it does not."""
        of_stream = self._stream.duration and self._stream.time_base and self._stream.duration * self._stream.time_base
        return float(of_stream or (self._container.duration or 0) / av.time_base)

    def sampled(self, fps: float) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds, [H, W, 3] uint8 RGB) of the first picture at or after every k / fps seconds, from the start.

        By the pictures' own times; in a file without times, by their number and its frame rate. A file that breaks off
        gives the pictures before, and says so in `broken`; `DecodeError` where there is none.
        """
        step, due, given = 1 / Fraction(str(fps)), Fraction(0), False
        for time, frame in self._timed():
            if time + CLOCK_TICK >= due:
                due = ((time + CLOCK_TICK) // step + 1) * step
                given = True
                yield float(time), _upright(frame)
        if not given:
            raise DecodeError(self.broken or "it has no frames")

    def at(self, times: Sequence[float]) -> list[np.ndarray]:
        """The pictures [H, W, 3] uint8 RGB shown at `times` in seconds, ascending, as many as can be decoded."""
        wanted, found = list(times), []
        self._seek(times[0] if times else 0.0)
        for time, frame in self._timed():
            while wanted and time + CLOCK_TICK >= wanted[0]:
                found.append(_upright(frame))
                wanted.pop(0)
            if not wanted:
                break
        return found

    def between(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """(seconds, frame) of every frame shown from `start` to `end`."""
        self._seek(start)
        for time, frame in self._timed():
            if time + CLOCK_TICK >= end:
                return
            if time + CLOCK_TICK >= start:
                yield float(time), frame

    def _seek(self, time: float) -> None:
        """To the key picture before `time`, where the file can do that; it is decoded from there."""
        start = self._stream.start_time
        if time > 1 and start is not None and self._stream.time_base:
            self._first = start * Fraction(self._stream.time_base)
            try:
                self._container.seek(int(start + Fraction(time) / self._stream.time_base), stream=self._stream)
            except av.error.FFmpegError as error:
                raise DecodeError(f"it has nothing at {time:.1f} s: {error.strerror}") from error

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
                raise DecodeError("neither its pictures nor the file say when they are shown")
            return self._decoded * self._frame
        time = frame.pts * Fraction(frame.time_base)
        if self._first is None:
            self._first = time
        return max(time - self._first, Fraction(0))


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """[H, W, 3] uint8 RGB as a player shows it: phones store turned pictures and a rotation in steps of 90 degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
