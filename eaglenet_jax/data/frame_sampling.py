"""Choice of the frames of a video that are stored, and of the stored frames that a model reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from eaglenet_jax.errors import UserError


def sampled_frames(source_fps: float | Fraction | None, sample_fps: float = 1) -> Iterator[int]:
    """Generate the increasing numbers of the frames to keep, without end, for a decoder that reads a file once.

    With the integer frame rate `fps = int(source_fps)`, frame i is `floor(i * fps / sample_fps)`: the first of every
    second (0, fps, 2 fps, …) at one frame a second. No frame comes twice: a `sample_fps` above `fps` keeps every frame.
    A source slower than one frame a second counts as one.

    Args:
        source_fps: Frame rate of the file, None if it states none.
        sample_fps: Frames to keep a second.

    Raises:
        UserError: The file states no frame rate, or the sample rate is not above zero.
    """
    if source_fps is None or not math.isfinite(source_fps) or source_fps <= 0:
        raise UserError(
            f"the video states no usable frame rate ({source_fps}); re-encode it, as with `ffmpeg -i IN -r 25 OUT`"
        )
    if not math.isfinite(sample_fps) or sample_fps <= 0:
        raise UserError(f"cannot take {sample_fps} frames a second; give a number above zero")
    # A fraction, since 3 * 25 / 0.1 in floats is not 750.
    step = Fraction(max(1, int(source_fps))) / Fraction(str(sample_fps))
    return (math.floor(i * max(step, Fraction(1))) for i in itertools.count())


def frame_indices(source_fps: float | Fraction | None, frame_count: int, sample_fps: float = 1) -> np.ndarray:
    """Return the numbers of `sampled_frames` below `frame_count`, [k] int64."""
    kept = itertools.takewhile(lambda index: index < frame_count, sampled_frames(source_fps, sample_fps))
    return np.fromiter(kept, np.int64)


def frame_times(count: int, sample_fps: float = 1, source_fps: float | None = None) -> np.ndarray:
    """Return the times at which the first `count` stored frames of a video stand, [count] float64, in seconds.

    Args:
        count: Number of frames.
        sample_fps: Frames that were kept a second.
        source_fps: Frame rate of the file, from which `sampled_frames` chose. None: the frames were chosen by their own
            times, or the rate is not known, and frame k stands at k / sample_fps.
    """
    if source_fps is None:
        return np.arange(count) / sample_fps
    kept = itertools.islice(sampled_frames(source_fps, sample_fps), count)
    return np.fromiter(kept, np.float64, count) / source_fps


def pick_frames(count: int, max_frames: int) -> np.ndarray:
    """Return the positions of at most `max_frames` of `count` frames, [min(count, max_frames)] int64, increasing.

    All frames when they fit, else `linspace(0, count - 1, max_frames)` truncated to integers.

    Raises:
        ValueError: `count` or `max_frames` is below 1.
    """
    if count < 1 or max_frames < 1:
        raise ValueError(f"pick_frames needs at least one frame, got {count} frames and max_frames {max_frames}")
    if count <= max_frames:
        return np.arange(count)
    return np.linspace(0, count - 1, max_frames).astype(np.int64)
