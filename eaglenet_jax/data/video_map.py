"""Map of a file's key pictures, for files whose clock breaks: there a search by time finds another picture."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import os
from pathlib import Path

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from eaglenet_jax.data.video_clock import TS_DISCONT, VideoClock

NO_BYTE_SEEK = 0x8000  # AVFMT_NO_BYTE_SEEK
# These have one index of all times; nothing is gained by reading the file.
TRUSTED = ("mov", "avi")
INDEXED_SHARE = 0.5  # of the length that an index of key pictures reaches to be trusted


@dataclasses.dataclass(frozen=True)
class KeyPicture:
    """A place where decoding can start.

    Attributes:
        time: Seconds on our clock.
        position: Bytes from the start of the file.
        offset: What is added to the file's times there, in ticks.
    """

    time: float
    position: int
    offset: int


@dataclasses.dataclass(frozen=True)
class VideoMap:
    """Key pictures of a file whose clock breaks, in order; and whether it can be searched by bytes."""

    keys: tuple[KeyPicture, ...]
    by_bytes: bool

    def before(self, time: float) -> list[KeyPicture]:
        """Return the key pictures at or before a time, the nearest first."""
        return list(reversed(self.keys[: bisect.bisect_right(self.keys, time, key=lambda key: key.time)]))


def may_break(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether a search by time may fail because the clock of a file breaks; without reading it."""
    if container.format.flags & TS_DISCONT:
        return True
    if any(name in container.format.name for name in TRUSTED):
        return False
    entries = stream.index_entries
    base = stream.time_base
    if not len(entries) or not container.duration or base is None:
        return True
    last = float(entries[len(entries) - 1].timestamp * base)
    return last < INDEXED_SHARE * container.duration / av.time_base


def read_map(path: Path) -> VideoMap | None:
    """Read all packets of a file, without decoding them; return None if its clock does not break."""
    status = os.stat(path)
    return _read(path, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=64)
def _read(path: Path, version: tuple[int, int]) -> VideoMap | None:
    from eaglenet_jax.data.video_source import VideoSource

    with VideoSource(path) as source:
        clock: VideoClock = source.clock
        keys = []
        for packet in source.packets():
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and stamp is not None and packet.pos is not None and packet.pos >= 0:
                keys.append(KeyPicture(clock.seconds(stamp), packet.pos, clock.offset))
        if not clock.jumps:
            return None
        return VideoMap(tuple(keys), not source.container.format.flags & NO_BYTE_SEEK)
