"""Frames of one video as a model reads them, from a file or from an array."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from eaglenet_jax.data.decode import DecodeError, Sampling, decode
from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.records import example_id
from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.errors import UserError, near_path

Video = str | os.PathLike[str] | np.ndarray  # a file, or frames [M, H, W, 3] uint8 RGB


@dataclasses.dataclass(frozen=True)
class FrameRule:
    """Choice of the frames of a video that a model reads.

    Attributes:
        size: Side of a frame in pixels.
        max_frames: Most frames of a video.
        sampling: Frames a second of a file, and up to which second; all frames of an array are used.
    """

    size: int
    max_frames: int
    sampling: Sampling


@dataclasses.dataclass(frozen=True)
class VideoFrames:
    """Frames of a video.

    Attributes:
        id: uint32, of the file's name without its suffix, or of an array's content.
        frames: [m, size, size, 3] uint8 RGB, 1 ≤ m ≤ max_frames.
        incomplete: Why decoding stopped before the end of the file, None if it did not.
    """

    id: np.uint32
    frames: np.ndarray
    incomplete: str | None = None


def read_video(video: Video, rule: FrameRule) -> VideoFrames:
    """Read the frames of a video that a model sees.

    A file gives the frames that data preparation stores of it and training reads: sampled, resized to CLIP's input,
    stored as JPEG, at most `max_frames` of them spread over its length.

    Args:
        video: A file that PyAV decodes, or frames [M, H, W, 3] uint8 RGB of any size, M ≥ 1, in their order.
        rule: Which frames are taken, and their size.

    Returns:
        The frames.

    Raises:
        UserError: The file is missing or gives no frame, or the array has another shape or type.
    """
    return _of_file(Path(video), rule) if isinstance(video, str | os.PathLike) else _of_array(np.asarray(video), rule)


def _of_file(file: Path, rule: FrameRule) -> VideoFrames:
    if not file.exists():
        raise UserError(f"there is no file {file}; give a video file{near_path(file)}")
    if file.is_dir():
        raise UserError(f"{file} is a folder; give the video files in it, as a list")
    sampling: dict[str, Any] = dataclasses.asdict(rule.sampling)
    try:
        video = decode(file, size=rule.size, **sampling)
    except (DecodeError, OSError) as error:
        raise UserError(f"{file} cannot be read as a video: {error}; give a file that a player shows") from error
    picked = pick_frames(len(video.frames), rule.max_frames)
    frames = np.stack([simplejpeg.decode_jpeg(video.frames[position]) for position in picked])
    incomplete = video.provenance["incomplete"]
    return VideoFrames(example_id(file.stem), frames, None if incomplete is None else f"{file}: {incomplete}")


def _of_array(frames: np.ndarray, rule: FrameRule) -> VideoFrames:
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
        raise UserError(
            f"a video is a file or an array of frames [M, H, W, 3] uint8, this one is {list(frames.shape)} "
            f"{frames.dtype}; give uint8 from 0 to 255, frames put together with numpy.stack"
        )
    picked = frames[pick_frames(len(frames), rule.max_frames)]
    if picked.shape[1:3] != (rule.size, rule.size):
        picked = np.stack([resize_and_crop(frame, rule.size) for frame in picked])
    return VideoFrames(example_id(f"{picked.shape} {picked.tobytes().hex()}"), picked)
