"""Time of the pictures of a video file: one clock that only moves forward and starts where players start.

Time zero is the container's start, the earliest time of any of its streams, so pictures that begin 5 s after the sound
have the times that a player shows. What is wrong with the times of a file is mended here and counted.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Matroska and WebM round times to milliseconds: they may store 1 s as 0.999.
TICK_SECONDS = 0.001
# FFmpeg's limits: what a time may be behind the one before, and how far ahead it is a break in the clock, for formats
# whose clock may be reset (transport streams) and for all others.
SECONDS_BACK = 0.1
SECONDS_AHEAD = 10.0
SECONDS_AHEAD_ELSEWHERE = 30 * 3600.0
# Presentation times are stored in the order of decoding: they go back by as many pictures as decoders reorder.
PICTURES_REORDERED = 17
HIGHEST_RATE = 240  # of slow-motion cameras
TS_DISCONT = 0x200  # AVFMT_TS_DISCONT
REORDERED_IN_MXF = ("h264", "hevc")
LATE_PICTURES = 3  # an AVI file whose first and second packet are further apart begins with the second
# These store one time a picture, that of presentation; FFmpeg makes up the decoding times.
PRESENTATION_ONLY = ("matroska", "webm", "ogg", "nut")


def next_due(time: float, fps: float) -> float:
    """Return the first of the seconds k / fps after a picture at `time`, which may be rounded down by a tick."""
    return (math.floor((time + TICK_SECONDS) * fps) + 1) / fps


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Return the pictures a second that a file states, None if it states none; of raw DV FFmpeg gives the clock's."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average > HIGHEST_RATE >= guessed:
        return guessed
    return average or guessed


@dataclasses.dataclass(frozen=True)
class Jump:
    """A break in a file's clock that was closed.

    Attributes:
        time: Seconds on our clock at which it is.
        by: Seconds by which the file's clock jumps; negative for a jump back.
    """

    time: float
    by: float


class VideoClock:
    """Clock of one video stream. All times inside are ticks of the stream's time base.

    `mend` corrects a packet before it is decoded, `time` gives the time of a decoded frame. After a seek, `restart`.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        base = stream.time_base
        if base is None:
            raise ValueError("the stream has no time base")
        self._num, self._den = base.numerator, base.denominator
        rate = stated_rate(stream)
        self.frame = max(1, round(self._den / (self._num * rate))) if rate else 0
        """Ticks of a picture at the stated rate; 0 if there is none."""
        name = container.format.name
        self._discontinuous = bool(container.format.flags & TS_DISCONT)
        self._by_pts = any(part in name for part in PRESENTATION_ONLY)
        # An AVI file has no presentation times, and those that FFmpeg makes up are not in order. Of H.264 and HEVC in
        # MXF it gives a packet's place in the file as both its times.
        codec = stream.codec_context.name if stream.codec_context else ""
        self._sorts_mxf = name == "mxf" and codec in REORDERED_IN_MXF
        self.sorts = name == "avi" or self._sorts_mxf
        """Whether pictures take the times of packets in order."""
        # The average rate is twice as high where AVI files leave room for fields.
        guessed = stream.guessed_rate
        self._step = max(1, round(self._den / (self._num * guessed))) if guessed else self.frame
        self._waits = name == "avi" and bool(stream.codec_context and stream.codec_context.has_b_frames)
        self._begins: int | None = None  # time of the first packet of a sorted stream
        self._late = 0  # ticks that are added to the times of a sorted stream which begins late
        start = container.start_time
        self.origin: int | None = None if start is None else self.ticks(start / av.time_base)
        """Tick of time zero; None until the first picture of a file that states none."""
        self.jumps: list[Jump] = []
        self.disordered = 0
        """Pictures whose times were not after the one before."""
        self.reordered = 0
        """Pictures of AVI or MXF whose made-up times are not after the one before; they take others, in order."""
        self.untimed = 0
        """Pictures without a time, which were counted by the rate."""
        self.gaps: list[float] = []
        """Seconds at which more than one picture's time passed without a picture."""
        self._factors: dict[int, float] = {}  # ticks of this stream to one of another, by its index
        self._ahead = self.ticks(SECONDS_AHEAD)
        self._back = self.ticks(SECONDS_BACK)
        self.lead: int | None = None
        """Packets that the decoder takes before its first picture; of a sorted stream, once its start is read."""
        self.offset = 0
        """Ticks that are added to the file's times since the last break."""
        self.end = 0.0
        """Seconds at which the last picture ends."""
        self._reached: float | None = None
        self.restart(0)

    def ticks(self, seconds: float) -> int:
        """Convert seconds to ticks."""
        return round(seconds * self._den / self._num)

    def seconds(self, ticks: int) -> float:
        """Convert ticks to seconds on our clock."""
        return (ticks - (self.origin or 0)) * self._num / self._den

    def restart(self, offset: int) -> None:
        """Forget what came before, after a seek to a place where `offset` is added to the file's times."""
        self.offset = offset
        self._before: int | None = None  # of packets: decoding time, or the largest presentation time
        self._largest: list[int] = []  # presentation times, as many as decoders reorder, as a heap
        self._least: int | None = None
        self._before_is_pts = False
        self._expected: int | None = None
        self._anywhere: float | None = None  # ticks at which the latest packet of any stream ends
        self._last: int | None = None  # of frames
        self._stated: int | None = None  # of the frame before, as FFmpeg gives it
        self._sent: list[int] = []
        self._packets = 0

    def mend(self, packet: av.Packet) -> None:
        """Correct the times of a packet of the stream where the file's clock breaks."""
        pts, dts, by_pts = packet.pts, packet.dts, self._by_pts
        stamp = pts if by_pts or dts is None else dts
        if stamp is not None:
            stamp += self.offset
            before, expected = self._before, self._expected
            if before is not None and expected is not None:
                by = stamp - expected
                is_odd = stamp < before - self._back or by > self._ahead  # of nearly no packet
                if is_odd and self._is_break(stamp, dts is None or self._before_is_pts):
                    self.jumps.append(Jump(self.seconds(expected), by * self._num / self._den))
                    self.offset -= by
                    stamp -= by
                    before = stamp
            if by_pts or dts is None:
                self._note_presentation(stamp)
            if before is not None and by_pts and before > stamp:
                stamp = before
            self._before, self._before_is_pts = stamp, dts is None
            self._expected = expected = stamp + (packet.duration or self.frame)
            self._note_end(expected)
        if self.offset:
            pts = packet.pts = None if pts is None else pts + self.offset
            dts = packet.dts = None if dts is None else dts + self.offset
        if self._discontinuous and pts is not None and dts is not None and abs(pts - dts) > self._ahead:
            packet.pts = None  # at a break FFmpeg's parser gives a picture the time of the one after the break
        sent = self._sent_time(packet)
        if sent is not None:
            self._begins = sent if self._begins is None else self._begins
            is_second = self._waits and self._sent == [self._begins + self._late]
            if is_second and sent > self._begins + LATE_PICTURES * self._step:
                self._begin_late(sent)
            self._packets += 1
            heapq.heappush(self._sent, sent + self._late)

    def _begin_late(self, second: int) -> None:
        """Give the first picture of a stream with B-frames its second packet's time, and the others one picture more.

        FFmpeg's writer puts the first packet at zero and fills what is before the second; its reader does the same.
        """
        self._sent, self._late = [second], self._step

    def _sent_time(self, packet: av.Packet) -> int | None:
        """Return the time that a packet of a sorted stream has put in line, None where none is sorted."""
        return (packet.pts if self._sorts_mxf else packet.dts) if self.sorts else None

    def pass_by(self, packet: av.Packet) -> None:
        """Note the time of a packet of another stream."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return
        factor = self._factors.get(packet.stream_index)  # fractions are slow, and there are many packets of sound
        if factor is None:
            factor = self._factors[packet.stream_index] = float(packet.time_base or 0) * self._den / self._num
        end = (stamp + (packet.duration or 0)) * factor + self.offset
        # A packet far off says that its own clock breaks.
        if self._anywhere is None or -self._ahead < end - self._anywhere < self._ahead:
            self._note_end(end)

    def _note_end(self, ticks: float) -> None:
        if self._anywhere is None or ticks > self._anywhere:
            self._anywhere = ticks
            if self._reached is None or ticks > self._reached:
                self._reached = ticks

    @property
    def reached(self) -> float:
        """Seconds at which the last packet of any stream ends."""
        return 0.0 if self._reached is None else (self._reached - (self.origin or 0)) * self._num / self._den

    def forget(self, packet: av.Packet) -> None:
        """Take back a packet that gives no picture."""
        sent = self._sent_time(packet)
        if sent is not None and sent + self._late in self._sent:
            self._packets -= 1
            self._sent.remove(sent + self._late)
            heapq.heapify(self._sent)

    def time(self, frame: av.VideoFrame) -> float:
        """Return the seconds at which a player shows a decoded frame, more than those of the frame before."""
        duration = frame.duration or self.frame
        ticks = frame.pts
        if self.sorts and self._sent:
            self.reordered += ticks is not None and self._stated is not None and ticks <= self._stated
            self._stated = ticks
            if self._last is None:
                self._pass_lost()
            while len(self._sent) > PICTURES_REORDERED:
                heapq.heappop(self._sent)
            ticks = heapq.heappop(self._sent)
        if ticks is None:
            self.untimed += 1
            ticks = (self.origin or 0) if self._last is None else self._last + max(1, self.frame)
        if self.origin is None:
            self.origin = ticks
        if self._last is not None and ticks <= self._last:
            self.disordered += 1
            ticks = self._last + max(1, duration // 2)
        time = self.seconds(ticks)
        if self._last is not None and self.frame and 2 * (ticks - self._last) > 3 * self.frame:
            self.gaps.append(time)
        self._last = ticks
        self.end = max(self.end, time + duration * self._num / self._den)
        return time

    def _pass_lost(self) -> None:
        """Take those pictures out of line that a decoder leaves out where it starts within a file.

        They are stored after the key picture and shown before it. At the start of the file there are none.
        """
        if self.lead is None:
            self.lead = self._packets
        for _ in range(min(self._packets - self.lead, len(self._sent) - 1)):
            heapq.heappop(self._sent)

    def _is_break(self, stamp: int, is_presentation: bool) -> bool:
        assert self._before is not None and self._expected is not None
        if stamp < self._before - self._back and (
            self._is_behind(stamp, self._before) if self._by_pts or is_presentation else True
        ):
            return True
        ahead = (stamp - self._expected) * self._num / self._den
        if ahead > SECONDS_AHEAD_ELSEWHERE:
            return True
        # While the sound goes on, a gap between pictures is a picture that stands.
        alone = self._anywhere is None or stamp > self._anywhere + self._ahead
        return self._discontinuous and ahead > SECONDS_AHEAD and alone

    def _note_presentation(self, stamp: int) -> None:
        push = heapq.heappush if len(self._largest) < PICTURES_REORDERED else heapq.heappushpop
        push(self._largest, stamp)
        self._least = stamp if self._least is None else min(self._least, stamp)

    def _is_behind(self, stamp: int, latest: int) -> bool:
        """Whether more pictures are later than decoders reorder, however long each of them stands."""
        if len(self._largest) == PICTURES_REORDERED:
            return stamp < self._largest[0]
        return self._least is not None and stamp <= self._least and latest - stamp > PICTURES_REORDERED * self.frame
