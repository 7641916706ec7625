from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.data.transforms import resize_and_crop, resized_shape


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [((655, 450), (326, 224)), ((450, 655), (224, 326)), ((240, 320), (224, 298)), ((48, 48), (224, 224))],
)
def test_the_longer_side_is_truncated_to_an_integer(source, expected):
    assert resized_shape(*source, 224) == expected


@pytest.mark.parametrize(("height", "width"), [(65, 45), (45, 65), (33, 100), (224, 224), (7, 9), (27, 24)])
def test_resize_and_crop_is_pils_bicubic_and_the_centre_square(height, width):
    frame, size = noise(height, width), 24
    scale = size / min(height, width)
    resized = Image.fromarray(frame).resize((int(width * scale + 1e-9), int(height * scale + 1e-9)), Image.BICUBIC)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    expected = resized.crop((left, top, left + size, top + size))
    result = resize_and_crop(frame, size)
    assert result.shape == (size, size, 3) and result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.asarray(expected))


def test_a_frame_of_the_right_size_is_unchanged():
    np.testing.assert_array_equal(resize_and_crop(noise(24, 24), 24), noise(24, 24))


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # every second column: without an antialias filter the result is black or white
    assert np.all(np.abs(resize_and_crop(stripes, 8).astype(int) - 127) < 25)


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_not_a_frame_is_refused(frame):
    with pytest.raises(ValueError, match="a frame is"):
        resize_and_crop(frame, 8)
