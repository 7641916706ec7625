"""Quick check of a video file: its header and its first frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av.error

from eaglenet_jax.data.decode import DecodeError, Sampling, VideoWalk
from eaglenet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Probe:
    """Result of a check.

    Attributes:
        seconds: Length stated by the file, 0 if it states none.
        rate: Frames a second stated by the file, 0 if it states none.
        reason: Why it cannot be decoded, or None.
    """

    seconds: float = 0.0
    rate: float = 0.0
    reason: str | None = None


def probe(path: Path) -> Probe:
    """Open the file and decode one frame. Damage further on is not detected."""
    try:
        with VideoWalk(path, Sampling()) as walk:
            if next(walk.pictures(), None) is None:
                return Probe(reason=walk.source.incomplete() or "it has no frames")
            return Probe(walk.source.announced, walk.source.rate)
    except (av.error.FFmpegError, UserError, DecodeError) as error:
        return Probe(reason=getattr(error, "strerror", None) or str(error))
