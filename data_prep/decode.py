"""One video file → the sampled frames as JPEG, in one sequential pass."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image

from eaglenet_jax.data.frame_sampling import sampled_frames
from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.errors import UserError

JPEG_QUALITY = 95
DECODER = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"

Provenance = dict[str, str | float | int | None]


class DecodeError(Exception):
    """A file that gives no frame; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """Sampled frames in order, each a JPEG of `size` × `size` pixels, and where they come from.

    `provenance`: decoder, source_fps, source_width and source_height (as shown, after rotation), source_frames (all
    that were decoded), seconds (source_frames / source_fps), rotation (degrees, counterclockwise, already applied) and
    incomplete (why the file ended early, or None).
    """

    frames: tuple[bytes, ...]
    provenance: Provenance


def decode(path: Path, *, fps: float = 1, size: int = 224) -> DecodedVideo:
    """Decodes `path` once from its start and keeps `fps` frames a second, resized and centre-cropped to `size`.

    A file that breaks off gives the frames before the break and says so in the provenance; a clip shorter than a
    sampling step gives its first frame. Raises `DecodeError` when nothing can be decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DecodeError("it has no video stream")
            return _decode_stream(container, container.streams.video[0], fps, size)
    except (av.error.FFmpegError, UserError) as error:
        raise DecodeError(getattr(error, "strerror", None) or str(error)) from error


def _decode_stream(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, fps: float, size: int
) -> DecodedVideo:
    # Videos are decoded in parallel, one process each; threads inside one would only compete.
    stream.codec_context.thread_count = 1
    source_fps = stream.average_rate or stream.guessed_rate
    wanted = sampled_frames(source_fps, fps)
    next_wanted = next(wanted)
    kept: list[bytes] = []
    decoded, rotation, shown = 0, 0, (0, 0)
    incomplete = None
    try:
        for frame in container.decode(stream):
            if decoded == next_wanted:
                picture = _upright(frame)
                rotation, shown = frame.rotation, picture.shape[:2]
                kept.append(_jpeg(resize_and_crop(picture, size)))
                next_wanted = next(wanted)
            decoded += 1
    except av.error.FFmpegError as error:
        incomplete = f"decoding stopped at frame {decoded}: {error.strerror}"
    if not kept:
        raise DecodeError(incomplete or "it has no frames")
    if incomplete is None and decoded < stream.frames:
        incomplete = f"the file announces {stream.frames} frames and gives {decoded}"
    rate = float(source_fps or 0)  # sampled_frames refuses a missing rate
    provenance: Provenance = {
        "decoder": DECODER,
        "source_fps": rate,
        "source_width": shown[1],
        "source_height": shown[0],
        "source_frames": decoded,
        "seconds": round(decoded / rate, 6),
        "rotation": rotation,
        "incomplete": incomplete,
    }
    return DecodedVideo(tuple(kept), provenance)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """[H, W, 3] uint8 RGB as a player shows it: phones store turned pictures and a rotation in steps of 90 degrees."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
