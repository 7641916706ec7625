"""Small video files with known pictures, for the tests of search."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data_prep.moving_shapes.render import describe, write_video

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (200, 30, 200)]


def write_colours(
    path: Path, colours: Sequence[tuple[int, int, int]], seconds_each: float = 1.0, rate: int = 10
) -> None:
    """A video of plain pictures, `seconds_each` of every colour."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "10", "g": "5"}
        for colour in colours:
            for _ in range(round(seconds_each * rate)):
                picture = np.full((48, 64, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def nearest_colour(picture: np.ndarray) -> int:
    """Which of COLORS a picture shows."""
    return int(np.abs(np.array(COLORS) - picture.reshape(-1, 3).mean(axis=0)).sum(axis=1).argmin())


def write_shapes(folder: Path, count: int, split: str = "test") -> dict[str, str]:
    """`count` MovingShapes clips in a folder → the complete caption of each, by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    content, shots = describe({split: count}, 0)
    captions: dict[str, str] = {}
    for sentence in content["sentences"]:
        captions.setdefault(f"{sentence['video_id']}.mp4", sentence["caption"])
    for video_id, filmed in shots.items():
        write_video(folder / f"{video_id}.mp4", filmed)
    return captions
