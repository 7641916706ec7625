"""Drawing of MovingShapes scenes: positions at each moment, drawn by PIL at twice the size."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from data_prep.moving_shapes.scenes import STRAIGHT, Scene

SUPERSAMPLING = 2
RGB = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 245),
    "yellow": (245, 220, 40),
    "pink": (250, 120, 200),
    "white": (248, 248, 248),
    "black": (12, 12, 12),
    "gray": (120, 120, 120),
    "brown": (105, 62, 28),
}
STRIPES = ((38, 38, 58), (104, 104, 128))
DIAMETER = {"small": 0.2, "large": 0.34}  # of the centre square's side, as all lengths here
MARGIN = 0.02


@dataclasses.dataclass(frozen=True)
class Clip:
    """Camera settings of a clip: everything that no caption mentions."""

    width: int
    height: int
    frames: int
    rate: tuple[int, int]  # frames a second as numerator, denominator
    offset: tuple[float, float]  # two numbers in [0, 1) that place the shapes
    phase: float  # in [0, 1): where circling begins, which side the other shape is on
    brightness: float  # of the background


RATES = ((10, 1), (12, 1), (15, 1), (25, 2), (15000, 1001), (12000, 1001))
SIDES = ((64, 64), (80, 64), (96, 72), (64, 80), (112, 64), (72, 72), (64, 96), (96, 96))
SECONDS = (2.0, 4.0)  # of a clip of one event
EVENT_SECONDS = (1.15, 1.55)  # of each event of a clip of several


def draw_clip(rng: np.random.Generator, seconds: tuple[float, float] = SECONDS) -> Clip:
    """Draw a length within `seconds`, a frame rate, a picture size and a placement."""
    rate = RATES[rng.integers(len(RATES))]
    width, height = SIDES[rng.integers(len(SIDES))]
    frames = round(rng.uniform(*seconds) * rate[0] / rate[1])
    x, y, phase, brightness = rng.random(4)
    return Clip(width, height, frames, rate, (x, y), phase, 0.85 + 0.3 * brightness)


def draw_shots(rng: np.random.Generator, count: int) -> tuple[Clip, ...]:
    """Draw the camera settings of every event of a clip; events of one clip share frame rate and picture size."""
    if count == 1:
        return (draw_clip(rng),)
    first = draw_clip(rng, EVENT_SECONDS)
    shots = [first]
    while len(shots) < count:
        frames = round(rng.uniform(*EVENT_SECONDS) * first.rate[0] / first.rate[1])
        x, y, phase, brightness = rng.random(4)
        shots.append(
            dataclasses.replace(first, frames=frames, offset=(x, y), phase=phase, brightness=0.85 + 0.3 * brightness)
        )
    return tuple(shots)


@dataclasses.dataclass(frozen=True)
class _Sprite:
    shape: str
    color: str
    x: float
    y: float
    diameter: float
    opacity: float = 1.0


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _mover(scene: Scene, clip: Clip, progress: float) -> tuple[float, float, float, float]:
    """Return centre x, y, diameter and opacity of the moving shape at `progress` in [0, 1] of the clip."""
    diameter = DIAMETER[scene.size]
    reach = 0.5 - diameter / 2 - MARGIN
    side = 1.0 if clip.phase < 0.5 else -1.0
    motion = scene.motion
    if motion in STRAIGHT:
        along = (2 * progress - 1) * reach * (1 if motion in ("right", "down") else -1)
        across = {"alone": (clip.offset[0] - 0.5) * 0.4, "beside": -side * 0.22}.get(scene.relation, 0.0)
        dx, dy = (along, across) if motion in ("left", "right") else (across, along)
        return 0.5 + dx, 0.5 + dy, diameter, 1.0
    if motion in ("clockwise", "counterclockwise"):
        turn = progress if motion == "clockwise" else -progress  # y points down: growing angles run clockwise
        angle = 2 * math.pi * (clip.phase + turn)
        return 0.5 + reach * math.cos(angle), 0.5 + reach * math.sin(angle), diameter, 1.0
    if motion in ("approach", "leave"):
        share = progress if motion == "approach" else 1 - progress
        gap = _between(-reach, 0.2 - diameter / 2, share)
        dx, dy = _towards_target(gap, clip)
        return 0.5 + dx, 0.5 + dy, diameter, 1.0
    x, y = _resting_place(scene, clip, side)
    if motion == "bounce":
        floor, height = 1 - diameter / 2 - MARGIN, 0.5
        return x, floor - height * abs(math.sin(math.pi * (2.5 * progress + clip.offset[1]))), diameter, 1.0
    if motion in ("grow", "shrink"):
        share = progress if motion == "grow" else 1 - progress
        return x, y, diameter * _between(0.35, 1.4, share), 1.0
    if motion in ("appear", "vanish"):
        return x, y, diameter, progress if motion == "appear" else 1 - progress
    if motion == "blink":
        return x, y, diameter, float((2.5 * progress + 0.25) % 1 < 0.5)
    raise ValueError(f"unknown motion {motion!r}")


def _towards_target(distance: float, clip: Clip) -> tuple[float, float]:
    dx, dy = ((1, 0), (-1, 0), (0, 1), (0, -1))[int(4 * clip.phase)]
    return distance * dx, distance * dy


def _resting_place(scene: Scene, clip: Clip, side: float) -> tuple[float, float]:
    if scene.relation == "beside":
        if scene.motion != "bounce" and clip.offset[0] < 0.5:
            return 0.5, 0.5 - side * 0.2
        return 0.5 - side * 0.2, 0.5
    return _between(0.36, 0.64, clip.offset[0]), _between(0.36, 0.64, clip.offset[1])


def _other(scene: Scene, clip: Clip) -> _Sprite | None:
    if scene.other_shape is None or scene.other_color is None:
        return None
    side = 1.0 if clip.phase < 0.5 else -1.0
    x, y, diameter = 0.5, 0.5, 0.24
    if scene.relation in ("behind", "before"):
        x, y, diameter = 0.5 + 0.1 * (clip.offset[0] - 0.5), 0.5 + 0.1 * (clip.offset[1] - 0.5), 0.38
    elif scene.relation == "target":
        dx, dy = _towards_target(0.34, clip)
        x, y = 0.5 + dx, 0.5 + dy
    elif scene.relation == "beside" and scene.motion in STRAIGHT:
        along, across = 0.4 * (clip.offset[0] - 0.5), side * 0.28
        dx, dy = (along, across) if scene.motion in ("left", "right") else (across, along)
        x, y = 0.5 + dx, 0.5 + dy
    elif scene.relation == "beside":
        x, y = _resting_place(scene, clip, side)
        x, y = (0.5, 0.5 + side * 0.34) if x == 0.5 else (0.5 + side * 0.34, 0.5)
    return _Sprite(scene.other_shape, scene.other_color, x, y, diameter)


@functools.lru_cache(maxsize=4096)
def _stencil(shape: str, pixels: int) -> Image.Image:
    """Draw the shape as an L mask of `pixels` × `pixels`; all shapes cover about the same area."""
    image = Image.new("L", (pixels, pixels))
    draw = ImageDraw.Draw(image)
    edge = pixels - 1
    if shape == "circle":
        draw.ellipse((0, 0, edge, edge), fill=255)
    elif shape == "square":
        inset = 0.06 * edge
        draw.rectangle((inset, inset, edge - inset, edge - inset), fill=255)
    elif shape == "cross":
        low, high = 0.32 * edge, 0.68 * edge
        draw.rectangle((low, 0, high, edge), fill=255)
        draw.rectangle((0, low, edge, high), fill=255)
    elif shape == "triangle":
        draw.polygon(((edge / 2, 0), (edge, edge), (0, edge)), fill=255)
    elif shape == "star":
        radii = (0.54, 0.22)
        angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
        points = [
            (edge * (0.5 + radii[i % 2] * math.cos(a)), edge * (0.54 + radii[i % 2] * math.sin(a)))
            for i, a in enumerate(angles)
        ]
        draw.polygon(points, fill=255)
    else:
        raise ValueError(f"unknown shape {shape!r}")
    return image


def _background(scene: Scene, clip: Clip) -> Image.Image:
    width, height = clip.width * SUPERSAMPLING, clip.height * SUPERSAMPLING
    if scene.background == "striped":
        period = min(width, height) / 6
        stripe = ((np.arange(width)[None, :] + np.arange(height)[:, None]) // (period / 2)).astype(int) % 2
        picture = np.asarray(STRIPES, np.float32)[stripe]
    else:
        shade = np.linspace(1.1, 0.9, height, dtype=np.float32)[:, None, None]
        picture = np.broadcast_to(np.asarray(RGB[scene.background], np.float32) * shade, (height, width, 3))
    return Image.fromarray(np.clip(picture * clip.brightness, 0, 255).astype(np.uint8))


def _paste(canvas: Image.Image, sprite: _Sprite) -> None:
    side = min(canvas.size)
    pixels = max(round(sprite.diameter * side), 1)
    stencil = _stencil(sprite.shape, pixels)
    if sprite.opacity < 1:
        stencil = stencil.point([round(value * sprite.opacity) for value in range(256)])
    x = round((canvas.width - side) / 2 + sprite.x * side - pixels / 2)
    y = round((canvas.height - side) / 2 + sprite.y * side - pixels / 2)
    canvas.paste(RGB[sprite.color], (x, y, x + pixels, y + pixels), stencil)


def draw_frames(scene: Scene, clip: Clip) -> Iterator[Image.Image]:
    """Draw every frame of the clip, RGB. Moving shapes stay inside the centre square."""
    background = _background(scene, clip)
    other = _other(scene, clip)
    for index in range(clip.frames):
        mover = _Sprite(scene.shape, scene.color, *_mover(scene, clip, index / max(clip.frames - 1, 1)))
        sprites = [mover, other] if scene.relation == "behind" else [other, mover]
        canvas = background.copy()
        for sprite in sprites:
            if sprite is not None:
                _paste(canvas, sprite)
        yield canvas.reduce(SUPERSAMPLING)
