"""A quick look at a video file: its header and its first frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av.error

from eaglenet_jax.data.decode import DecodeError, Sampling, VideoWalk
from eaglenet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a file says of itself. seconds: 0 where it does not say. reason: why it cannot be decoded, or None."""

    seconds: float = 0.0
    rate: float = 0.0
    reason: str | None = None


def probe(path: Path) -> Probe:
    """Opens the file and decodes one frame. Damage further on is not seen."""
    try:
        with VideoWalk(path, Sampling()) as walk:
            if next(walk.pictures(), None) is None:
                return Probe(reason=walk.broken or "it has no frames")
            return Probe(walk.announced_seconds, walk.rate)
    except (av.error.FFmpegError, UserError, DecodeError) as error:
        return Probe(reason=getattr(error, "strerror", None) or str(error))
