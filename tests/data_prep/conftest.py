"""Small videos of known content, and a small MovingShapes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_prep.moving_shapes.render import render
from data_prep.readers.msrvtt import read_msrvtt_json

SMALL_SPLITS = {"train": 6, "validate": 3, "test": 3}
GRAY_STEP = 4

WriteVideo = Callable[..., Path]


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """write_video(path, pictures, rate=…): pictures [N, H, W, 3] uint8 as H.264."""

    def write(path: Path, pictures: np.ndarray, rate: Fraction | int = 10, **container_options: str) -> Path:
        with av.open(str(path), "w", options=container_options) as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.height, stream.width = pictures.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.gop_size = 5
            stream.codec_context.thread_count = 1
            stream.options = {"preset": "ultrafast", "crf": "4"}
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def counting_pictures() -> Callable[..., np.ndarray]:
    """counting_pictures(n, height, width): frame i is uniformly gray, of brightness 8 + 4 i."""

    def pictures(count: int, height: int = 48, width: int = 64) -> np.ndarray:
        gray = np.arange(count, dtype=np.uint8) * GRAY_STEP + 8
        return np.broadcast_to(gray[:, None, None, None], (count, height, width, 3)).copy()

    return pictures


@pytest.fixture(scope="session")
def frame_number() -> Callable[[np.ndarray], int]:
    """Which of `counting_pictures` a decoded picture is."""
    return lambda picture: round((float(np.asarray(picture, np.float32).mean()) - 8) / GRAY_STEP)


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered MovingShapes of twelve clips. Not to be changed."""
    folder = tmp_path_factory.mktemp("moving_shapes")
    render(folder, splits=SMALL_SPLITS, progress=False)
    return folder


@pytest.fixture
def shapes_entries(shapes_folder: Path) -> list:
    return read_msrvtt_json(shapes_folder / "annotations.json", shapes_folder / "videos")
