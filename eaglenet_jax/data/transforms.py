"""CLIP's preprocessing of a frame: shorter side to the model's size by bicubic interpolation, then the centre square.

Bit-identical to the reference preprocessing: PIL's antialiased bicubic, torchvision's rounding.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return (height, width) when the shorter side becomes `size`; the longer one is truncated to an integer."""
    short, long = min(height, width), max(height, width)
    scaled = int(size * long / short)
    return (scaled, size) if width <= height else (size, scaled)


def resize_and_crop(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize the shorter side to `size` by bicubic interpolation and crop the centre square.

    Args:
        frame: [H, W, 3] uint8 RGB.
        size: Side of the result in pixels.

    Returns:
        [size, size, 3] uint8 RGB.

    Raises:
        ValueError: The frame is not [H, W, 3] uint8.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"a frame is [H, W, 3] uint8, got {frame.shape} {frame.dtype}")
    height, width = resized_shape(frame.shape[0], frame.shape[1], size)
    image = Image.fromarray(frame)
    if (height, width) != frame.shape[:2]:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return np.asarray(image)[top : top + size, left : left + size].copy()
