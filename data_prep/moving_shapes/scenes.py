"""Scenes of MovingShapes clips: the attribute tuple, its time-reversed twin, and the draw of disjoint splits."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from eaglenet_jax.errors import UserError

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLORS = ("red", "green", "blue", "yellow", "pink", "white")
SIZES = ("small", "large")
BACKGROUNDS = ("black", "gray", "brown", "striped")
REVERSED = {
    "left": "right",
    "up": "down",
    "clockwise": "counterclockwise",
    "grow": "shrink",
    "appear": "vanish",
    "approach": "leave",
}
REVERSED |= {value: key for key, value in REVERSED.items()}
STRAIGHT = ("left", "right", "up", "down")
IN_PLACE = ("grow", "shrink", "appear", "vanish", "blink", "bounce")
# Relation of the motion to a second shape, if there is one, and how often such a scene is drawn.
MOTIONS_BY_RELATION = {
    "alone": (*STRAIGHT, "clockwise", "counterclockwise", *IN_PLACE),
    "beside": (*STRAIGHT, *IN_PLACE),
    "behind": STRAIGHT,
    "before": STRAIGHT,
    "around": ("clockwise", "counterclockwise"),
    "target": ("approach", "leave"),
}
RELATION_FREQUENCY = {"alone": 0.35, "beside": 0.27, "behind": 0.11, "before": 0.11, "around": 0.07, "target": 0.09}
RELATIONS = tuple(RELATION_FREQUENCY)
_SUMS = np.cumsum(list(RELATION_FREQUENCY.values()))
CUMULATIVE = (_SUMS / _SUMS[-1]).tolist()
# The share of all attribute combinations that each split may draw from. A combination's hash decides, so that splits
# are disjoint whatever their sizes and whichever of them are rendered.
SPLIT_SHARE = {"train": 0.55, "validate": 0.09, "test": 0.09, "test_1k": 0.27}
# One draw in three adds its twin: about half of the clips then have one that differs only in the frames' order.
TWIN_FREQUENCY = 1 / 3
# Largest share of its combinations that a split may hold: finding the last ones by drawing would take too long.
LARGEST_FILL = 0.25


@dataclasses.dataclass(frozen=True)
class Scene:
    """Full attribute combination of a clip. `other_*` describe the second, resting shape; None without one."""

    shape: str
    color: str
    size: str
    motion: str
    background: str
    relation: str = "alone"
    other_shape: str | None = None
    other_color: str | None = None

    def twin(self) -> Scene | None:
        """Return the scene with the same frames in reverse order; None if it would be the scene itself."""
        reverse = REVERSED.get(self.motion)
        return None if reverse is None else dataclasses.replace(self, motion=reverse)

    def without_other(self) -> tuple[Scene, ...]:
        """Return the scenes described by captions without the second shape; the direction to a target is left open."""
        motions = STRAIGHT if self.relation == "target" else (self.motion,)
        lone = dataclasses.replace(self, relation="alone", other_shape=None, other_color=None)
        return tuple(dataclasses.replace(lone, motion=motion) for motion in motions)


def combinations() -> int:
    """Count the different scenes."""
    firsts = len(SHAPES) * len(COLORS) * len(SIZES) * len(BACKGROUNDS)
    seconds = (len(SHAPES) - 1) * (len(COLORS) - 1)
    return sum(
        firsts * len(motions) * (1 if relation == "alone" else seconds)
        for relation, motions in MOTIONS_BY_RELATION.items()
    )


def split_of(scene: Scene, seed: int) -> str:
    """Return the only split that may hold this combination and its twin."""
    twin = scene.twin()
    first = min(repr(scene), repr(twin)) if twin else repr(scene)
    digest = hashlib.blake2b(f"{seed} {first}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "little") / 2**64
    for split, share in SPLIT_SHARE.items():
        position -= share
        if position < 0:
            return split
    return split


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a random combination. A second shape differs from the first in shape and colour."""

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    relation = RELATIONS[bisect.bisect_right(CUMULATIVE, rng.random())]  # as rng.choice, in a tenth of the time
    shape, color = pick(SHAPES), pick(COLORS)
    motion = pick(MOTIONS_BY_RELATION[relation])
    scene = Scene(shape, color, pick(SIZES), motion, pick(BACKGROUNDS), relation)
    if relation == "alone":
        return scene
    others = tuple(s for s in SHAPES if s != shape)
    other_colors = tuple(c for c in COLORS if c != color)
    return dataclasses.replace(scene, other_shape=pick(others), other_color=pick(other_colors))


class SceneDraw:
    """A draw of distinct scenes of one split, none of which fits another's complete description.

    A description of a shape alone also fits a clip with a second shape, so one split never contains both.

    Args:
        split: A name of `SPLIT_SHARE`.
        count: Number of scenes that will be drawn.
        seed: Decides which combinations belong to the split.
        rng: Of the draw.

    Raises:
        UserError: The split is unknown, or it has fewer combinations than are wanted.
    """

    def __init__(self, split: str, count: int, seed: int, rng: np.random.Generator) -> None:
        if split not in SPLIT_SHARE:
            raise UserError(f"MovingShapes has no split {split!r}; choose among {', '.join(SPLIT_SHARE)}.")
        room = int(LARGEST_FILL * SPLIT_SHARE[split] * combinations())
        if count > room:
            raise UserError(f"MovingShapes split {split!r} has room for {room} events, not {count}; ask for fewer.")
        self.split, self.seed, self.rng = split, seed, rng
        self.scenes: dict[Scene, None] = {}
        self._alone: set[Scene] = set()
        self._accompanied: set[Scene] = set()

    def add(self, scene: Scene) -> bool:
        """Add a scene if it belongs to the split and fits no other one's description; return whether it did."""
        if split_of(scene, self.seed) != self.split or scene in self.scenes:  # before what takes longer
            return False
        descriptions = scene.without_other()
        own, opposite = (
            (self._alone, self._accompanied) if scene.relation == "alone" else (self._accompanied, self._alone)
        )
        if not opposite.isdisjoint(descriptions):
            return False
        self.scenes[scene] = None
        own.update(descriptions)
        return True

    def next(self) -> Scene:
        """Draw scenes until one can be added; return it."""
        scene = draw_scene(self.rng)
        while not self.add(scene):
            scene = draw_scene(self.rng)
        return scene


def draw_split(split: str, count: int, seed: int) -> list[Scene]:
    """Draw `count` distinct scenes of one split, see `SceneDraw`.

    Raises:
        UserError: The split is unknown, or it has fewer combinations than clips are wanted.
    """
    rng = np.random.default_rng([seed, list(SPLIT_SHARE).index(split) if split in SPLIT_SHARE else 0])
    drawn = SceneDraw(split, count, seed, rng)
    while len(drawn.scenes) < count:
        scene = draw_scene(rng)
        if split_of(scene, seed) != split:
            continue
        drawn.add(scene)
        twin = scene.twin()
        if rng.random() < TWIN_FREQUENCY and twin is not None and len(drawn.scenes) < count:
            drawn.add(twin)
    return list(drawn.scenes)


def draw_splits(splits: Mapping[str, int], seed: int) -> dict[str, list[Scene]]:
    """Draw the scenes of every requested split, which do not depend on the other splits drawn."""
    return {split: draw_split(split, count, seed) for split, count in splits.items()}
