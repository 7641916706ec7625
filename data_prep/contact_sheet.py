"""Contact sheet of a video: its sampled pictures with their times, as one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from eaglenet_jax.atomic import write_atomically

COLUMNS, MOST = 6, 36
CELL = (200, 150)  # pixels
LABEL = 16


def contact_sheet(shots: Sequence[tuple[float, np.ndarray]]) -> Image.Image:
    """Arrange at most 36 of (seconds, picture [H, W, 3] uint8), spread over the length, with their seconds below."""
    chosen = np.unique(np.linspace(0, len(shots) - 1, min(MOST, len(shots))).astype(int))
    columns = min(COLUMNS, len(chosen))
    width, height = CELL[0] + 8, CELL[1] + LABEL + 8
    sheet = Image.new("RGB", (columns * width, math.ceil(len(chosen) / columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, number in enumerate(chosen):
        picture = Image.fromarray(np.ascontiguousarray(shots[number][1]))
        picture.thumbnail(CELL)
        left, top = place % columns * width + 4, place // columns * height + 4
        sheet.paste(picture, (left + (CELL[0] - picture.width) // 2, top + (CELL[1] - picture.height) // 2))
        draw.text((left, top + CELL[1] + 2), f"{shots[number][0]:.2f} s", fill="black")
    return sheet


def write_contact_sheet(path: Path, shots: Sequence[tuple[float, np.ndarray]]) -> None:
    """Write a contact sheet as PNG."""
    buffer = io.BytesIO()
    contact_sheet(shots).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
