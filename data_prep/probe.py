"""Quick check of a video file: its header, its first frame and, if asked, the times of its pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av.error

from data_prep.picture_times import picture_times
from data_prep.video_facts import rate_of
from eaglenet_jax.data.decode import DecodeError, Sampling, VideoWalk
from eaglenet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Probe:
    """Result of a check.

    Attributes:
        seconds: Length stated by the file, 0 if it states none.
        rate: Frames a second stated by the file, 0 if it states none.
        reason: Why it cannot be decoded, or None.
        begins: Seconds from time zero to its first picture.
        varies: Whether the times between its pictures differ by more than rounding; None if nobody asked.
        counting_off: Most seconds by which a picture that counting takes for second k is off, see `Rate`.
    """

    seconds: float = 0.0
    rate: float = 0.0
    reason: str | None = None
    begins: float = 0.0
    varies: bool | None = None
    counting_off: float = 0.0


def probe(path: Path, all_times: bool = False) -> Probe:
    """Open the file and decode one frame. Damage further on is not detected.

    Args:
        path: The file.
        all_times: Whether the rate of its pictures is examined, for which some containers are read to their end.
    """
    try:
        with VideoWalk(path, Sampling()) as walk:
            source = walk.source
            if next(walk.pictures(), None) is None:
                return Probe(reason=source.incomplete() or "it has no frames")
            begins = walk.first_time or 0.0
            found = Probe(source.announced, source.rate, begins=begins)
            if not all_times:
                return found
            source.rewind()
            rate = rate_of(picture_times(source).tolist(), source.rate)
            return dataclasses.replace(found, varies=rate.varies, counting_off=rate.counting_off or 0.0)
    except (av.error.FFmpegError, UserError, DecodeError) as error:
        return Probe(reason=getattr(error, "strerror", None) or str(error))
