"""Small video files of the kinds that people report trouble with, written by PyAV.

The grey level of a picture is LEVEL + STEP · its number, so that a picture says which it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVEL, STEP = 20, 3
HEIGHT, WIDTH = 48, 64


@dataclasses.dataclass(frozen=True)
class Clip:
    """How a clip is written.

    Attributes:
        count: Pictures.
        rate: Pictures a second.
        codec: Encoder.
        start: Seconds before the first picture.
        times: Seconds of the pictures instead, after `start`.
        sound: Seconds of sound from 0 on.
        aspect: Width to height of a sample.
        key_every: Pictures from one key picture to the next.
        between: Pictures that are stored after later ones.
        first: Number of the first picture, for its grey level.
        options: Of the container.
    """

    count: int = 60
    rate: int = 10
    codec: str = "libx264"
    start: float = 0.0
    times: Sequence[float] | None = None
    sound: float = 0.0
    aspect: Fraction = Fraction(1)
    key_every: int = 10
    between: int = 0
    first: int = 0
    options: tuple[tuple[str, str], ...] = ()


def write(path: Path, clip: Clip = Clip()) -> Path:
    """Write a clip in the container of the path's suffix."""
    with av.open(str(path), "w", options=dict(clip.options)) as container:
        stream = container.add_stream(clip.codec, rate=clip.rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.sample_aspect_ratio = clip.aspect
        context = stream.codec_context
        context.thread_count, context.gop_size = 1, clip.key_every
        ticks = clip.rate if clip.times is None else 1000
        context.time_base = Fraction(1, ticks)
        if clip.codec == "libx264":
            stream.options = {"preset": "veryfast", "crf": "6", "bf": str(clip.between), "x264-params": "scenecut=0"}
        elif clip.codec == "libvpx":
            stream.options = {"b": "400000", "cpu-used": "8", "deadline": "realtime"}
        else:
            stream.options = {"b": "800000", "bf": str(clip.between)}
        sound = container.add_stream("aac", rate=32000) if clip.sound else None
        if sound is not None:
            _write_sound(container, sound, clip.sound)
        for number in range(clip.count):
            time = number / clip.rate if clip.times is None else clip.times[number]
            frame = av.VideoFrame.from_ndarray(picture(clip.first + number), format="rgb24")
            frame.pts, frame.time_base = round((clip.start + time) * ticks), Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    block, layout = 1024, "mono"
    for number in range(int(seconds * 32000) // block):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, block), np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 32000, number * block, Fraction(1, 32000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def picture(number: int) -> np.ndarray:
    """Return a picture by its number, [HEIGHT, WIDTH, 3] uint8: grey, with a bright corner at the top left."""
    whole = np.full((HEIGHT, WIDTH, 3), LEVEL + STEP * number, np.uint8)
    whole[:16, :16] = 255
    return whole


def number_of(shown: np.ndarray) -> int:
    """Return the number of a picture from the grey level in its middle and at its lower right."""
    height, width = shown.shape[:2]
    part = shown[height // 3 :, width // 3 :].astype(float)
    return round((float(np.median(part)) - LEVEL) / STEP)


def damage_packet(path: Path, number: int) -> Path:
    """Overwrite the body of one packet of the first stream with bytes that no decoder takes."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    packet = packets[number]
    place = content.index(bytes(packet))
    content[place : place + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    return path


def set_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """Give an MP4 file a display matrix (a, b, c, d), in whole numbers."""
    content = bytearray(path.read_bytes())
    identity = b"".join(v.to_bytes(4, "big") for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    at = content.index(identity, content.index(b"tkhd"))
    for slot, value in zip((0, 1, 3, 4), matrix, strict=True):
        content[at + 4 * slot : at + 4 * slot + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Put files together as `cat` does."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
