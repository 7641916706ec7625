"""Decoding of a video file to sampled frames as JPEG, in one sequential pass."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.stream import Disposition
from PIL import Image

from eaglenet_jax.data.frame_sampling import sampled_frames
from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.errors import UserError

JPEG_QUALITY = 95
# Matroska and WebM round times to milliseconds: they may store 1 s as 0.999.
CLOCK_TICK = Fraction(1, 1000)
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"

Provenance = dict[str, str | float | int | None]


class DecodeError(Exception):
    """Error for a file that gives no frame; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """Sampled frames of a video and their provenance.

    Attributes:
        frames: JPEG files of `size` × `size` pixels, in order.
        provenance: decoder, source_fps, source_width and source_height (as shown, after rotation), source_frames (all
            that were decoded), seconds (source_frames / source_fps), rotation (degrees, counterclockwise, already
            applied) and incomplete (why the file ended early, or None).
    """

    frames: tuple[bytes, ...]
    provenance: Provenance


def decode(
    path: Path, *, fps: float = 1, size: int = 224, first_seconds: float | None = None, timestamps: bool = False
) -> DecodedVideo:
    """Decode a video once from its start and keep `fps` frames a second, resized and centre-cropped to `size`.

    A file that breaks off gives the frames before the break and records it in the provenance; a clip shorter than a
    sampling step gives its first frame.

    Args:
        path: The video file.
        fps: Frames to keep a second.
        size: Side of a frame in pixels.
        first_seconds: Nothing at or after this time is read.
        timestamps: Keep the first frame at or after every k / fps seconds by the frames' own times, for files of
            variable frame rate; otherwise the frames of `sampled_frames`, counted by the file's frame rate.

    Raises:
        DecodeError: Nothing can be decoded.
    """
    sampling = Sampling(fps, first_seconds, timestamps)
    try:
        with VideoWalk(path, sampling) as walk:
            kept = tuple(_jpeg(resize_and_crop(picture, size)) for picture in walk.pictures())
    except (av.error.FFmpegError, UserError) as error:
        raise DecodeError(getattr(error, "strerror", None) or str(error)) from error
    if not kept:
        raise DecodeError(walk.broken or "it has no frames")
    return DecodedVideo(kept, walk.provenance())


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Choice of the frames that `decode` keeps, see there."""

    fps: float = 1
    first_seconds: float | None = None
    timestamps: bool = False


class VideoWalk:
    """An opened video file that is read once. Raises PyAV's errors, and UserError for a file without a frame rate."""

    def __init__(self, path: Path, sampling: Sampling) -> None:
        self._sampling = sampling
        self._container = av.open(str(path))
        self._decoded, self._rotation, self._shown = 0, 0, (0, 0)
        self._cut = False
        self.broken: str | None = None
        """Why decoding stopped before the end of the file, None if it did not."""

    def __enter__(self) -> VideoWalk:
        return self

    def __exit__(self, *unused: object) -> None:
        self._container.close()

    def pictures(self) -> Iterator[np.ndarray]:
        """Generate the sampled frames as a player shows them, each [H, W, 3] uint8 RGB."""
        stream = self._video_stream()
        # Videos are decoded in parallel, one process each; threads inside one would only compete.
        stream.codec_context.thread_count = 1
        self._rate = stream.average_rate or stream.guessed_rate
        self._announced = stream.frames
        self._duration = stream.duration and stream.time_base and stream.duration * stream.time_base
        frames = self._timed(stream) if self._sampling.timestamps else self._counted(stream)
        try:
            for frame in frames:
                picture = _upright(frame)
                self._rotation, self._shown = frame.rotation, picture.shape[:2]
                yield picture
        except av.error.FFmpegError as error:
            self.broken = f"decoding stopped at frame {self._decoded}: {error.strerror}"

    def _video_stream(self) -> av.video.stream.VideoStream:
        # The cover of a music file is a video stream of one picture.
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise DecodeError("it has no video stream")
        return streams[0]

    def _counted(self, stream: av.video.stream.VideoStream) -> Iterator[av.VideoFrame]:
        wanted = sampled_frames(self._rate, self._sampling.fps)
        end = (self._sampling.first_seconds or math.inf) * max(1, int(self._rate or 0))
        next_wanted = next(wanted)
        for frame in self._container.decode(stream):
            if self._decoded >= end:
                self._cut = True
                return
            if self._decoded == next_wanted:
                yield frame
                next_wanted = next(wanted)
            self._decoded += 1

    def _timed(self, stream: av.video.stream.VideoStream) -> Iterator[av.VideoFrame]:
        step = 1 / Fraction(str(self._sampling.fps))
        start, due = None, Fraction(0)
        for frame in self._container.decode(stream):
            if frame.pts is None or frame.time_base is None:
                raise UserError("its frames have no times; sample it by its frame rate")
            start = frame.pts if start is None else start
            time = (frame.pts - start) * frame.time_base
            if time >= (self._sampling.first_seconds or math.inf):
                self._cut = True
                return
            if time + CLOCK_TICK >= due:
                yield frame
                due = ((time + CLOCK_TICK) // step + 1) * step
            self._decoded += 1

    @property
    def rate(self) -> float:
        """Frames a second stated by the file, once the first picture is read; 0 if it states none."""
        return float(self._rate or 0)

    @property
    def announced_seconds(self) -> float:
        """Length stated by the file, once the first picture is read; 0 if it states none."""
        of_container = (self._container.duration or 0) / av.time_base
        of_frames = self._announced / self.rate if self.rate else 0.0
        return float(self._duration or of_container or of_frames)

    def provenance(self) -> Provenance:
        """Return the provenance as in `DecodedVideo`, once the pictures are read."""
        incomplete = self.broken
        if incomplete is None and not self._cut and self._decoded < self._announced:
            incomplete = f"the file announces {self._announced} frames and gives {self._decoded}"
        rate = self.rate
        return {
            "decoder": DECODER,
            "source_fps": rate,
            "source_width": self._shown[1],
            "source_height": self._shown[0],
            "source_frames": self._decoded,
            "seconds": round(self._decoded / rate, 6) if rate else None,
            "rotation": self._rotation,
            "incomplete": incomplete,
        }


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Return [H, W, 3] uint8 RGB as players show it: phones store a rotation in steps of 90 degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
