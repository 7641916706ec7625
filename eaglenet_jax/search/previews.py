"""Small WebP pictures of the frames of a window: made while it is indexed, so that a page need not decode its video."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

LARGEST = (256, 144)  # width and height in pixels
MOST_BYTES = 4000  # of a preview; 12 frames a window, 450 windows an hour: 22 MB an hour
SMALLER = 0.8  # times the size, as often as it takes to stay below
PREVIEW_QUALITY, STRIP_QUALITY = 40, 60
MOST_STRIP = 12_000  # pixels of width; WebP has at most 16383


def as_webp(image: Image.Image, quality: int = STRIP_QUALITY) -> bytes:
    """Encode an image as a small WebP."""
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=4)
    return content.getvalue()


def as_preview(small: Image.Image) -> bytes:
    """Encode a picture of at most `LARGEST` pixels as a WebP of at most `MOST_BYTES`, smaller if it has to be."""
    content = as_webp(small, PREVIEW_QUALITY)
    while len(content) > MOST_BYTES:
        small = small.resize((max(1, round(small.width * SMALLER)), max(1, round(small.height * SMALLER))))
        content = as_webp(small, PREVIEW_QUALITY)
    return content


def tile_size(width: int, height: int, count: int) -> tuple[int, int]:
    """Return width and height in pixels of each of `count` pictures in a strip, for pictures of a shape."""
    scale = min(LARGEST[0] / width, LARGEST[1] / height, MOST_STRIP / max(1, count) / width, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def strip_of_previews(previews: Sequence[bytes]) -> bytes:
    """Return previews as one WebP, side by side."""
    pictures = []
    for content in previews:
        with Image.open(io.BytesIO(content)) as image:
            pictures.append(image.convert("RGB"))
    return as_strip(pictures, len(pictures))


def as_strip(pictures: Sequence[Image.Image], count: int) -> bytes:
    """Return `count` pictures as one WebP, side by side, all of one size; the last repeated where there are fewer."""
    largest = max(pictures, key=lambda picture: picture.width)
    size = tile_size(*largest.size, count)
    strip = Image.new("RGB", (size[0] * count, size[1]))
    for number in range(count):
        strip.paste(pictures[min(number, len(pictures) - 1)].resize(size), (size[0] * number, 0))
    return as_webp(strip)
