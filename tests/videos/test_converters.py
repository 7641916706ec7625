"""Converters of pictures are kept: they give the pictures of new ones, and a fork makes its own."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from eaglenet_jax.data import video_picture
from eaglenet_jax.data.video_picture import as_released, shown

STREAM = SimpleNamespace(sample_aspect_ratio=Fraction(1))
# width, height, format, colour range and matrix as FFmpeg numbers them
KINDS = [(64, 48, "yuv420p", 1, 1), (64, 48, "yuv420p", 2, 1), (64, 48, "yuv420p", 1, 5), (48, 64, "yuv444p", 1, 1)]
KINDS += [(200, 120, "yuvj420p", 2, 5), (64, 48, "gray", 2, 1), (64, 48, "rgb24", 2, 1)]


def pictures() -> list[av.VideoFrame]:
    rng, made = np.random.default_rng(0), []
    for width, height, name, color_range, matrix in KINDS:
        noise = av.VideoFrame.from_ndarray(rng.integers(0, 256, (height, width, 3), np.uint8), format="rgb24")
        frame = noise.reformat(format=name)
        frame.color_range, frame.colorspace = color_range, matrix
        made.append(frame)
    return made


def test_a_kept_converter_gives_the_pictures_of_a_new_one(monkeypatch):
    frames = pictures()
    order = [*range(len(frames)), *reversed(range(len(frames)))]
    for convert in (lambda frame: shown(frame, STREAM), as_released):
        kept = [convert(frames[index]) for index in order]
        with monkeypatch.context() as patched:
            patched.setattr(video_picture, "_converter", lambda kind: av.video.reformatter.VideoReformatter())
            for index, picture in zip(order, kept, strict=True):
                np.testing.assert_array_equal(picture, convert(frames[index]))
    assert np.any(shown(frames[0], STREAM) != shown(frames[1], STREAM))


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_fork_converts_with_its_own():
    frame = pictures()[4]
    expected = shown(frame, STREAM)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it where it hangs
        os._exit(0 if np.array_equal(shown(frame, STREAM), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
