"""Decoding of a video file to sampled frames as JPEG, in one sequential pass."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image

from eaglenet_jax.data.frame_sampling import sampled_frames
from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.data.video_clock import TICK_SECONDS, next_due
from eaglenet_jax.data.video_picture import as_released, pixel_aspect, shown
from eaglenet_jax.data.video_source import DecodeError, VideoSource
from eaglenet_jax.errors import UserError

JPEG_QUALITY = 95
# The number is that of our own reading: increase it when the same file gives other frames.
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}, reading 4"

Provenance = dict[str, str | float | int | list[float] | None]
Part = tuple[float, float | None]
"""Start and end of a part of a video in seconds, the end None for that of the file."""


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """Sampled frames of a video and their provenance.

    Attributes:
        frames: JPEG files of `size` × `size` pixels, in order.
        provenance: decoder, source_fps, source_width and source_height (of the pictures that were sampled),
            source_frames (all that were decoded), times (seconds of each frame as a player shows it), seconds (the end
            of the last picture by its time, or source_frames / source_fps where frames are counted), rotation (degrees,
            counterclockwise, already applied), pixel_aspect (width to height of a sample as the file states it),
            incomplete (what of the file is missing, or None) and notes (what was wrong with its times and may be
            missing unseen, or None).
    """

    frames: tuple[bytes, ...]
    provenance: Provenance


def decode(
    path: Path,
    *,
    fps: float = 1,
    size: int = 224,
    first_seconds: float | None = None,
    timestamps: bool = False,
    as_shown: bool = False,
    part: Part | None = None,
) -> DecodedVideo:
    """Decode a video once from its start and keep `fps` frames a second, resized and centre-cropped to `size`.

    A file that is damaged gives the frames that can be decoded and records what is missing in the provenance; a clip
    shorter than a sampling step gives its first frame.

    Args:
        path: The video file.
        fps: Frames to keep a second.
        size: Side of a frame in pixels.
        first_seconds: Nothing at or after this time is read.
        timestamps: Keep the first frame at or after every k / fps seconds by the frames' own times; otherwise the
            frames of `sampled_frames`, counted by the file's frame rate.
        as_shown: Pictures as a player shows them, see `video_picture.shown`; otherwise as the released programs read
            them, which obey rotation alone.
        part: Keep only frames of this part, by the times that a player shows. It begins with the frame that stands at
            its start if the next is more than a step away, or if it has no frame of its own.

    Raises:
        DecodeError: Nothing can be decoded.
    """
    sampling = Sampling(fps, first_seconds, timestamps, as_shown, part)
    try:
        with VideoWalk(path, sampling) as walk:
            kept = tuple(_jpeg(resize_and_crop(picture, size)) for picture in walk.pictures())
    except (av.error.FFmpegError, UserError) as error:
        raise DecodeError(getattr(error, "strerror", None) or str(error)) from error
    if not kept:
        raise DecodeError(walk.why_empty())
    return DecodedVideo(kept, walk.provenance())


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Choice of the frames that `decode` keeps, see there."""

    fps: float = 1
    first_seconds: float | None = None
    timestamps: bool = False
    as_shown: bool = False
    part: Part | None = None


class VideoWalk:
    """An opened video file that is read once, sampled.

    Raises DecodeError for a file without pictures, and UserError for one without a frame rate whose frames are counted.
    """

    def __init__(self, path: Path, sampling: Sampling) -> None:
        self._sampling = sampling
        self.source = VideoSource(path)
        self._read, self._rotation, self._shown = 0, 0, (0, 0)
        self._aspect = 1.0
        self._cut = False
        self._start, end = sampling.part or (0.0, None)
        self._end = math.inf if end is None else end
        self._times: list[float] = []
        self.first_time: float | None = None
        """Seconds of the file's first picture, None until it is read."""

    def __enter__(self) -> VideoWalk:
        return self

    def __exit__(self, *unused: object) -> None:
        self.source.__exit__(*unused)

    def pictures(self) -> Iterator[np.ndarray]:
        """Generate the sampled frames, each [H, W, 3] uint8 RGB."""
        stream = self.source.stream
        for time, frame in self._in_part(self._timed() if self._sampling.timestamps else self._counted()):
            self._times.append(round(time, 3))
            picture = shown(frame, stream) if self._sampling.as_shown else as_released(frame)
            self._rotation, self._shown = frame.rotation, picture.shape[:2]
            self._aspect = float(pixel_aspect(frame, stream))
            yield picture

    def _in_part(self, sampled: Iterator[tuple[float, av.VideoFrame, bool]]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Pass on the frames that are sampled, of a part only its own and the one that stands at its start."""
        standing: av.VideoFrame | None = None
        start, waits = self._start, self._start > 0
        for time, frame, wanted in sampled:
            self.first_time = time if self.first_time is None else self.first_time
            if waits and time <= start + TICK_SECONDS:
                standing = frame
            if time + TICK_SECONDS < start:
                continue
            if time + TICK_SECONDS >= self._end:
                self._cut = True
                break
            if not wanted:
                continue
            if waits and standing is not None and time >= start + 1 / self._sampling.fps:
                yield start, standing
            waits = False
            yield time, frame
        if waits and standing is not None and start < max(self.source.clock.end, self.source.clock.reached):
            yield start, standing

    def why_empty(self) -> str:
        """Say why no frame was kept."""
        lost, clock = self.source.incomplete(self._cut), self.source.clock
        if self._sampling.part is None or self.first_time is None:
            return lost or "it has no frames"
        why = f"its part begins at {self._start:g} s, and the file has {round(max(clock.end, clock.reached), 2):g} s"
        if self._end <= self.first_time:
            why = f"its part ends at {self._end:g} s, and the pictures begin at {round(self.first_time, 2):g} s"
        return "; ".join(filter(None, (why, lost)))

    def _counted(self) -> Iterator[tuple[float, av.VideoFrame, bool]]:
        """Generate every frame with its time, and whether it is one of `sampled_frames`."""
        rate = self.source.rate
        wanted = sampled_frames(rate, self._sampling.fps)
        end = (self._sampling.first_seconds or math.inf) * max(1, int(rate))
        next_wanted = next(wanted)
        for time, frame in self.source.frames():
            if self._read >= end:
                self._cut = True
                return
            is_wanted = self._read == next_wanted
            yield time, frame, is_wanted
            if is_wanted:
                next_wanted = next(wanted)
            self._read += 1

    def _timed(self) -> Iterator[tuple[float, av.VideoFrame, bool]]:
        """Generate every frame with its time, and whether it is the first at or after k / fps seconds."""
        fps, due = self._sampling.fps, 0.0
        end = self._sampling.first_seconds or math.inf
        for time, frame in self.source.frames():
            if time >= end:
                self._cut = True
                return
            is_wanted = time + TICK_SECONDS >= due
            yield time, frame, is_wanted
            if is_wanted:
                due = next_due(time, fps)
            self._read += 1

    def provenance(self) -> Provenance:
        """Return the provenance as in `DecodedVideo`, once the pictures are read."""
        rate = self.source.rate
        counted = self._read / rate if rate else None
        timed = min(self.source.clock.end, self._sampling.first_seconds or math.inf, self._end)
        seconds = timed if self._sampling.timestamps else counted
        return {
            "decoder": DECODER,
            "source_fps": rate,
            "source_width": self._shown[1],
            "source_height": self._shown[0],
            "source_frames": self._read,
            "times": self._times,
            "seconds": None if seconds is None else round(seconds, 6),
            "rotation": self._rotation,
            "pixel_aspect": self._aspect,
            "incomplete": self.source.incomplete(self._cut),
            "notes": "; ".join(self.source.notes()) or None,
        }


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
