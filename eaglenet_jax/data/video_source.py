"""Reading of a video file: the choice of its stream, every frame that can be decoded, its time, and what was lost."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from eaglenet_jax.data.video_clock import TICK_SECONDS, VideoClock, stated_rate
from eaglenet_jax.data.video_map import KeyPicture, may_break, read_map
from eaglenet_jax.data.video_tail import end_of_file
from eaglenet_jax.wording import counted

NO_STREAM = "it has no video stream"
# A file is cut off if it ends before its stated length by more than rounding and reordering explain: seconds at least,
# pictures at least, and a share of the length up to so many seconds.
SHORT_SECONDS, SHORT_PICTURES, SHORT_SHARE, SHORT_MOST = 0.25, 2, 0.01, 2.0
EXACT_LENGTH = "mxf"  # this container states its length in pictures, and nothing goes on behind them
# Decoders that give one picture a packet, or one for the two fields of a picture: a share of packets without any is a
# loss that nothing reports.
ONE_FOR_ONE = ("h264", "hevc", "mpeg2video", "mjpeg", "png", "prores", "ffv1", "flv")
FIELDS_SHARE = 0.4
# So small a share of gaps in so many pictures is no variable rate.
GAPS_SHARE, GAPS_OF = 0.05, 10
UNREAD_BYTES, UNREAD_SHARE = 2000, 0.1  # at the end of a file, that no packet is read from
READ_ERRORS = 3  # in a row, after which a file counts as ended
SEEK_BACK = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # seconds before the target to try in turn
SEEK_TRIES = 8  # key pictures to try in turn, where they are known


class DecodeError(Exception):
    """Error for a file that gives no frame; the message is the reason."""


def open_container(path: Path) -> InputContainer:
    """Open a file whatever its name: "12:30.mp4" is no address. Raises PyAV's errors."""
    return av.open("file:" + os.path.abspath(path), metadata_errors="replace")


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """Return the streams of moving pictures; the cover of a music file is none."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def chosen_stream(container: InputContainer) -> VideoStream:
    """Return the stream that a player shows: the default one, else the largest; the first of equals.

    A stream of one single picture is a cover, whatever its flags and size, if another has more.

    Raises:
        DecodeError: There is none.
    """
    streams = picture_streams(container)
    if not streams:
        raise DecodeError(NO_STREAM)

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        known = stream.codec_context is not None
        area = stream.width * stream.height if known else 0
        return known, bool(stream.disposition & Disposition.default), area

    ranked = [stream for stream in sorted(streams, key=rank, reverse=True) if stream.codec_context is not None]
    if not ranked:
        raise DecodeError("it has a video stream that no decoder here reads")
    covers = single_pictures(container, ranked[0].index) if len(ranked) > 1 else ()
    return next((stream for stream in ranked if stream.index not in covers), ranked[0])


def single_pictures(container: InputContainer, stream: int) -> frozenset[int]:
    """Return the streams of one picture or none, by index, if `stream` is one of them and another has more."""
    path = Path(container.name.removeprefix("file:"))
    status = os.stat(path)
    return _single_pictures(path, stream, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=64)
def _single_pictures(path: Path, stream: int, version: tuple[int, int]) -> frozenset[int]:
    # Headers do not say it: packets are read until the stream has two, which for nearly all files are the first ones.
    with open_container(path) as container:
        counts = {one.index: 0 for one in picture_streams(container)}
        with contextlib.suppress(av.error.FFmpegError):
            for packet in container.demux(list(counts)):
                counts[packet.stream_index] += bool(packet.size)
                if counts[stream] > 1:
                    return frozenset()
    return frozenset(one for one, count in counts.items() if count <= 1 < max(counts.values()))


@dataclasses.dataclass
class Losses:
    """Parts of a file that could not be decoded.

    Attributes:
        packets: Packets that no picture came out of, by an error.
        damaged: Pictures that the decoder says it has patched.
        marked: Packets that the container says are damaged.
        first: Seconds of the first loss.
        last: Seconds of the last loss.
        reason: What the decoder said first.
        ended: Why reading ended before the end of the file.
    """

    packets: int = 0
    damaged: int = 0
    marked: int = 0
    first: float | None = None
    last: float | None = None
    reason: str = ""
    ended: str | None = None

    def note(self, time: float | None, reason: str) -> None:
        """Count a loss at a time in seconds, if one is known."""
        self.reason = self.reason or reason
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)

    def __str__(self) -> str:
        """Return one line, "" without losses."""
        damaged = self.damaged
        counts = [
            *([f"{counted(self.packets, 'packet')} cannot be decoded"] if self.packets else []),
            *([f"{damaged} picture{'s' * (damaged > 1)} from damaged data"] if damaged else []),
        ]
        if counts and self.first is not None and self.last is not None:
            several = self.last - self.first >= 0.05
            counts[-1] += f" (at {self.first:.1f} s" + (f" to {self.last:.1f} s" if several else "") + ")"
        told = " and ".join(counts) + (f": {self.reason}" if counts and self.reason else "")
        return "; ".join(part for part in (told, self.ended) if part)


class VideoSource:
    """An opened video file: its frames in the order of time, from the start or from a place that was sought.

    A packet that cannot be decoded is counted and passed over. Decoding uses one thread, since several files are read
    at a time.

    Raises:
        DecodeError: The file cannot be opened or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses = Losses()
        self.decoded = 0
        """Number of frames decoded."""
        self._read_to = 0  # bytes
        self._at_end = False
        self.sent = 0
        """Number of packets that should give frames."""
        self._open()
        self.clock = VideoClock(self.container, self.stream)

    def _open(self) -> None:
        try:
            self.container = open_container(self.path)
        except av.error.FFmpegError as error:
            raise DecodeError(error.strerror) from error
        try:
            self.stream = chosen_stream(self.container)
        except DecodeError:
            self.container.close()
            raise
        self.stream.codec_context.thread_count = 1
        stream, stated = self.stream, self.container.duration
        self._size = self.container.size
        self.rate = float(stated_rate(stream) or 0)
        """Frames a second stated by the file; 0 if it states none."""
        self.announced = stated / av.time_base if stated else 0.0
        """Length in seconds stated by the file, from time zero; 0 if it states none."""
        if not stated and stream.duration and stream.time_base:
            self.announced = float(stream.duration * stream.time_base)
        self._ready: deque[tuple[float, av.VideoFrame]] = deque()
        self._running = self._run()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *unused: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Generate (seconds, frame) from here to the end of the file; the seconds always grow."""
        while True:
            found = self._ready.popleft() if self._ready else next(self._running, None)
            if found is None:
                return
            yield found

    def _run(self) -> Iterator[tuple[float, av.VideoFrame]]:
        for packet in self.packets():
            for frame in self._decode(packet):
                self.decoded += 1
                if frame.is_corrupt:
                    self.losses.damaged += 1
                    time = self.clock.time(frame)
                    self.losses.note(time, "")
                    yield time, frame
                else:
                    yield self.clock.time(frame), frame

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        self.sent += bool(packet.size) and not packet.is_discard
        try:
            return self.stream.codec_context.decode(packet if packet.size else None)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self.losses.packets += 1
            stamp = packet.pts if packet.pts is not None else packet.dts
            time = None if stamp is None else self.clock.seconds(stamp)
            self.losses.note(time, error.strerror or str(error))
            self.clock.forget(packet)
            return []

    def packets(self) -> Iterator[av.Packet]:
        """Generate the stream's packets with mended times, and an empty one at the end, which flushes the decoder."""
        own, errors = self.stream.index, 0
        clock = self.clock
        while errors < READ_ERRORS:
            try:
                for packet in self.container.demux():
                    size, end = packet.size, packet.pos
                    if end is not None and (end := end + size) > self._read_to:
                        self._read_to = end
                    if packet.stream_index != own:
                        clock.pass_by(packet)
                    elif size:
                        errors = 0
                        clock.mend(packet)
                        self.losses.marked += packet.is_corrupt
                        yield packet
                self._at_end = True
                with contextlib.suppress(OSError):  # the file may be gone meanwhile
                    self._read_to = end_of_file(self.path, self._read_to, self.container.format.name)
                break
            except av.error.FFmpegError as error:
                errors += 1
                if errors == READ_ERRORS:
                    self.losses.ended = f"reading stopped at {clock.reached:.1f} s: {error.strerror}"
        yield av.Packet()

    def incomplete(self, cut: bool = False) -> str | None:
        """Return in one line what is missing of a file that was read to its end, None if nothing is.

        Args:
            cut: Reading ended on purpose before the end.
        """
        told = str(self.losses)
        stated, clock = self.announced, self.clock
        if not cut and self.losses.ended is None and stated and not clock.jumps and not clock.untimed:
            least = 0 if self.container.format.name == EXACT_LENGTH else SHORT_SECONDS
            spare = max(least, SHORT_PICTURES / (self.rate or 1), min(SHORT_MOST, SHORT_SHARE * stated))
            if max(clock.reached, clock.end) + spare < stated:
                end = f"the file ends at {max(clock.reached, clock.end):.1f} s of the {stated:.1f} s that it announces"
                told = "; ".join(part for part in (told, end) if part)
        return told or None

    def notes(self) -> tuple[str, ...]:
        """Return what was wrong with the times of what was read, and what may be missing unseen, a line a kind."""
        lines = []
        jumps = self.clock.jumps
        if jumps:
            shown = ", ".join(f"at {jump.time:.1f} s by {jump.by:+.1f} s" for jump in jumps[:3])
            more = f" and {len(jumps) - 3} times more" if len(jumps) > 3 else ""
            lines.append(f"the file's clock jumps {shown}{more}; time goes on there")
        if self.clock.disordered:
            lines.append(f"{self.clock.disordered} pictures have times that are not after the one before; put in order")
        if self.clock.untimed:
            lines.append(f"{self.clock.untimed} pictures have no time; counted by the frame rate")
        if self.losses.marked:
            marked = f"{self.losses.marked} packet{'s' * (self.losses.marked > 1)}"
            lines.append(f"the container marks {marked} as damaged")
        unread = self._size - self._read_to
        if self._at_end and unread > max(UNREAD_BYTES, UNREAD_SHARE * self._size):
            lines.append(f"the last {unread} bytes hold no video of this file: does another follow?")
        silent = self.sent - self.decoded - self.losses.packets
        if self.stream.codec_context.name in ONE_FOR_ONE and 0 < silent < FIELDS_SHARE * self.sent:
            lines.append(f"{silent} packets gave no picture and no error, as where a file begins within a sequence")
        lost = self.losses.packets + max(0, silent)
        gaps = self.clock.gaps
        if len(gaps) > lost and len(gaps) <= max(1, GAPS_SHARE * self.decoded) and self.decoded >= GAPS_OF:
            lines.append(
                f"{counted(len(gaps), 'gap')} in an even rate, the first at {gaps[0]:.1f} s: pictures may be missing"
            )
        return tuple(lines)

    def seek(self, time: float) -> None:
        """Go to a place from which `frames` begins at or before `time` in seconds.

        The container's own search is checked: what was decoded first decides, and if that is later, an earlier place is
        tried, at last the start of the file.
        """
        if self.clock.sorts and self.clock.lead is None:
            next(self._running, None)
        if may_break(self.container, self.stream) and (found := read_map(self.path)) is not None:
            places = found.before(time)[:SEEK_TRIES] if found.by_bytes else []
            jumps: Iterator[bool] = (self._jump_to_byte(place) for place in places)
        else:
            jumps = (self._jump_to_time(time - back) for back in SEEK_BACK)
        for jumped in jumps:
            first = next(self._running, None) if jumped else None
            if first is not None and first[0] <= time + TICK_SECONDS:
                self._ready.appendleft(first)
                return
        self.rewind()

    def _jump_to_time(self, time: float) -> bool:
        """Seek in the container; return whether it could."""
        if time <= 0 or self.clock.origin is None:
            return False
        return self._jump(self.clock.origin + self.clock.ticks(time), 0, stream=self.stream)

    def _jump_to_byte(self, place: KeyPicture) -> bool:
        return self._jump(place.position, place.offset, unsupported_byte_offset=True)

    def _jump(self, to: int, offset: int, **how: Any) -> bool:
        try:
            self.container.seek(to, **how)
        except av.error.FFmpegError:
            return False
        self._ready.clear()
        self.clock.restart(offset)
        self._running = self._run()
        return True

    def rewind(self) -> None:
        """Go to the start of the file, by opening it again."""
        self.container.close()
        self._open()
        self.clock = VideoClock(self.container, self.stream)
