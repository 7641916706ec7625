"""Frames as small JPEGs that stand inside a page, as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np

SIDE = 96  # pixels of the longer side of a frame on a page
QUALITY = 80


def data_uri(frame: np.ndarray) -> str:
    """Encode a frame [H, W, 3] uint8 RGB as a data URI, no larger than `SIDE` pixels."""
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strip(frames: np.ndarray, most: int = 6) -> list[str]:
    """Encode at most `most` frames of a video [M, H, W, 3], evenly spaced in time, as data URIs."""
    shown = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int))
    return [data_uri(frames[frame]) for frame in shown]
