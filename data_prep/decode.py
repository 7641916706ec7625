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


class DecodeError(Exception):
    """A file that gives no frame; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """Sampled frames in order, each a JPEG of `size` × `size` pixels, and where they come from.

    `provenance`: decoder, source_fps, source_width, source_height (as shown, after rotation), source_frames (decoded),
    seconds (source_frames / source_fps), rotation (degrees, counterclockwise, already applied) and incomplete (why the file
    ended early, or None).
    """

    frames: tuple[bytes, ...]
    provenance: dict[str, str | float | int | None]


def decode(path: Path, *, fps: float = 1, size: int = 224) -> DecodedVideo:
    """Decodes `path` once from its start and keeps `fps` frames a second, resized and centre-cropped to `size`.

    A file that breaks off gives the frames before the break and says so in the provenance; a clip shorter than a sampling
    step gives its first frame. Raises `DecodeError` when nothing can be decoded.
    """
    kept: list[bytes] = []
    index, incomplete = -1, None
    rotation, shown_size = 0, (0, 0)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DecodeError("it has no video stream")
            stream = container.streams.video[0]
            # Videos are decoded in parallel, one process each; threads inside one would only compete.
            stream.codec_context.thread_count = 1
            source_fps = stream.average_rate or stream.guessed_rate
            wanted = sampled_frames(source_fps, fps)
            expected = stream.frames
            next_wanted = next(wanted)
            try:
                for index, frame in enumerate(container.decode(stream)):
                    if index == next_wanted:
                        picture = _upright(frame)
                        rotation, shown_size = frame.rotation, picture.shape[1::-1]
                        kept.append(_jpeg(resize_and_crop(picture, size)))
                        next_wanted = next(wanted)
            except av.error.FFmpegError as error:
                incomplete = f"decoding stopped at frame {index + 1}: {error.strerror}"
    except (av.error.FFmpegError, UserError, OSError) as error:
        raise DecodeError(getattr(error, "strerror", None) or str(error)) from error
    if not kept:
        raise DecodeError(incomplete or "it has no frames")
    if incomplete is None and expected > index + 1:
        incomplete = f"{index + 1} of the {expected} frames that the file announces"
    provenance = {
        "decoder": DECODER,
        "source_fps": float(source_fps),
        "source_width": int(shown_size[0]),
        "source_height": int(shown_size[1]),
        "source_frames": index + 1,
        "seconds": round((index + 1) / float(source_fps), 6),
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
