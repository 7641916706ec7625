"""Pictures of a video as a player shows them: upright, round where the scene is round, in the colours that were meant.

FFmpeg's libswscale converts range and matrix coefficients as the file states them, and maps HDR to SDR.
"""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
# Headers that state a wider pixel are damaged; and no picture is made larger than this.
MOST_ASPECT, MOST_SIDE = 8, 16384
# A pixel is combed if it differs from both neighbours above and below by so many levels in the same direction; and a
# picture if so large a part of its pixels is. Of film in fields next to none are.
COMB_LEVELS, COMBED_SHARE = 12, 0.01
_threads = threading.local()


def shown(frame: av.VideoFrame, stream: VideoStream) -> np.ndarray:
    """Return [H, W, 3] uint8 RGB as a player shows a frame.

    The sample aspect ratio changes the width; the display matrix turns and mirrors; PQ and HLG are mapped to SDR; the
    lines of two moments in one picture become those of the first.
    """
    aspect = pixel_aspect(frame, stream)
    options: dict[str, Any] = {}
    if aspect != 1:
        options = {"width": round(frame.width * aspect), "interpolation": int(Interpolation.BICUBIC)}
    if frame.color_trc in HDR:
        options |= {"dst_color_trc": int(ColorTrc.BT709), "dst_color_primaries": int(ColorPrimaries.BT709)}
        picture = _converter("hdr").reformat(frame, format="rgb24", **options).to_ndarray()
    else:
        picture = _converter("sdr").reformat(frame, format="rgb24", **options).to_ndarray()
    if frame.interlaced_frame and is_combed(picture):
        picture = first_field(picture)
    return turned(picture, display_matrix(frame))


def _converter(kind: str) -> VideoReformatter:
    """Return this thread's converter of a kind of pictures, which keeps what it computed for those before.

    Of HDR that is a table that takes seconds. For a small picture to set up a converter takes longer than to convert.
    """
    converters: dict[tuple[str, int], VideoReformatter] = _threads.__dict__.setdefault("converters", {})
    # By process, too: a fork has the converters of its parent but not their threads, and hangs in using or freeing one.
    key = kind, os.getpid()
    if key not in converters:
        converters[key] = VideoReformatter()
    return converters[key]


def as_released(frame: av.VideoFrame) -> np.ndarray:
    """Return [H, W, 3] uint8 RGB as the released programs read a frame: rotated by steps of 90 degrees, no more."""
    picture = _converter("sdr").reformat(frame, format="rgb24").to_ndarray()
    return np.rot90(picture, round(frame.rotation / 90) % 4)


def pixel_aspect(frame: av.VideoFrame, stream: VideoStream) -> Fraction:
    """Return width to height of a sample; 1 where the file states none, or none that can be."""
    aspect = stream.sample_aspect_ratio
    if not aspect or not Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT:
        return Fraction(1)
    return aspect if 1 <= round(frame.width * aspect) <= max(MOST_SIDE, frame.width) else Fraction(1)


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """Return the linear part [[a, b], [c, d]] of a frame's display matrix: (x, y) is shown at (ax + cy, bx + dy)."""
    entries: Any = frame.side_data  # a mapping that iterates over its values
    for data in entries:
        if data.type is Type.DISPLAYMATRIX:
            whole = np.frombuffer(bytes(data), np.int32)
            return whole[:9].reshape(3, 3)[:2, :2].astype(np.int64) if whole.size >= 9 else None
    return None


def turned(picture: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Turn and mirror a picture [H, W, 3] by a display matrix, to the nearest of the eight positions."""
    if matrix is None or not matrix.any():
        return picture
    (a, b), (c, d) = matrix.tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # it transposes
        picture = picture.transpose(1, 0, 2)  # x becomes the row: shown at bx, and y the column: shown at cy
        a, d = c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def is_turned_only(matrix: np.ndarray | None) -> bool:
    """Return whether a display matrix mirrors nothing."""
    return matrix is None or not matrix.any() or bool(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0] > 0)


def is_combed(picture: np.ndarray) -> bool:
    """Return whether a picture [H, W, 3] uint8 has lines of two moments: it looks like a comb where something moves."""
    green = picture[..., 1].astype(np.int16)
    above, below = green[1:-1] - green[:-2], green[1:-1] - green[2:]
    combed = ((above > COMB_LEVELS) & (below > COMB_LEVELS)) | ((above < -COMB_LEVELS) & (below < -COMB_LEVELS))
    return bool(combed.size) and float(combed.mean()) > COMBED_SHARE


def first_field(picture: np.ndarray) -> np.ndarray:
    """Return a picture [H, W, 3] uint8 with every second line replaced by the mean of its neighbours."""
    result = picture.copy()
    between = result[1:-1:2]
    between[:] = (picture[:-2:2].astype(np.uint16) + picture[2::2][: len(between)] + 1) // 2
    if len(picture) % 2 == 0 and len(picture) > 1:
        result[-1] = picture[-2]
    return result
