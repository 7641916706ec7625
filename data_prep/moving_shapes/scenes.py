"""What a MovingShapes clip shows: the attribute tuple, its time-reversed twin, and the draw of disjoint splits."""

from __future__ import annotations

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
# What a second shape, if there is one, has to do with the motion, and how often such a scene is drawn.
MOTIONS_BY_RELATION = {
    "alone": (*STRAIGHT, "clockwise", "counterclockwise", *IN_PLACE),
    "beside": (*STRAIGHT, *IN_PLACE),
    "behind": STRAIGHT,
    "before": STRAIGHT,
    "around": ("clockwise", "counterclockwise"),
    "target": ("approach", "leave"),
}
RELATION_FREQUENCY = {"alone": 0.35, "beside": 0.27, "behind": 0.11, "before": 0.11, "around": 0.07, "target": 0.09}
# The share of all attribute combinations that each split may draw from. A combination's hash decides, so that splits
# are disjoint whatever their sizes and whichever of them are rendered.
SPLIT_SHARE = {"train": 0.55, "validate": 0.09, "test": 0.09, "test_1k": 0.27}
# One draw in three brings its twin along: about half of the clips then have one that differs only in the frames' order.
TWIN_FREQUENCY = 1 / 3
# A split may hold this share of its combinations at most: to find the last ones by drawing would take for ever.
LARGEST_FILL = 0.25


@dataclasses.dataclass(frozen=True)
class Scene:
    """The full attribute combination of a clip. `other_*` describe the second, resting shape; None without one."""

    shape: str
    color: str
    size: str
    motion: str
    background: str
    relation: str = "alone"
    other_shape: str | None = None
    other_color: str | None = None

    def twin(self) -> Scene | None:
        """The scene that looks the same frame by frame and runs backwards; None where it would be the scene itself."""
        reverse = REVERSED.get(self.motion)
        return None if reverse is None else dataclasses.replace(self, motion=reverse)

    def without_other(self) -> tuple[Scene, ...]:
        """What captions that do not mention the second shape would describe; its target's direction is not told."""
        motions = STRAIGHT if self.relation == "target" else (self.motion,)
        lone = dataclasses.replace(self, relation="alone", other_shape=None, other_color=None)
        return tuple(dataclasses.replace(lone, motion=motion) for motion in motions)


def combinations() -> int:
    """How many different scenes there are."""
    firsts = len(SHAPES) * len(COLORS) * len(SIZES) * len(BACKGROUNDS)
    seconds = (len(SHAPES) - 1) * (len(COLORS) - 1)
    return sum(
        firsts * len(motions) * (1 if relation == "alone" else seconds)
        for relation, motions in MOTIONS_BY_RELATION.items()
    )


def split_of(scene: Scene, seed: int) -> str:
    """The one split that may hold this combination and its twin."""
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
    """A random combination. A second shape differs from the first in shape and colour."""

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    relation = str(rng.choice(list(RELATION_FREQUENCY), p=list(RELATION_FREQUENCY.values())))
    shape, color = pick(SHAPES), pick(COLORS)
    motion = pick(MOTIONS_BY_RELATION[relation])
    scene = Scene(shape, color, pick(SIZES), motion, pick(BACKGROUNDS), relation)
    if relation == "alone":
        return scene
    others = tuple(s for s in SHAPES if s != shape)
    other_colors = tuple(c for c in COLORS if c != color)
    return dataclasses.replace(scene, other_shape=pick(others), other_color=pick(other_colors))


def draw_split(split: str, count: int, seed: int) -> list[Scene]:
    """`count` distinct scenes of one split, none of which fits another's complete description.

    A description of a shape alone also fits a clip in which a second shape happens to be there, so one split never
    holds both. Raises `UserError` for an unknown split or more clips than there are combinations.
    """
    if split not in SPLIT_SHARE:
        raise UserError(f"MovingShapes has no split {split!r}; choose among {', '.join(SPLIT_SHARE)}.")
    room = int(LARGEST_FILL * SPLIT_SHARE[split] * combinations())
    if count > room:
        raise UserError(f"MovingShapes split {split!r} has room for {room} clips; {count} were asked for.")
    rng = np.random.default_rng([seed, list(SPLIT_SHARE).index(split)])
    scenes: dict[Scene, None] = {}
    alone: set[Scene] = set()
    accompanied: set[Scene] = set()

    def add(scene: Scene) -> None:
        descriptions = scene.without_other()
        own, opposite = (alone, accompanied) if scene.relation == "alone" else (accompanied, alone)
        if scene not in scenes and opposite.isdisjoint(descriptions) and len(scenes) < count:
            scenes[scene] = None
            own.update(descriptions)

    while len(scenes) < count:
        scene = draw_scene(rng)
        if split_of(scene, seed) != split:
            continue
        add(scene)
        twin = scene.twin()
        if rng.random() < TWIN_FREQUENCY and twin is not None:
            add(twin)
    return list(scenes)


def draw_splits(splits: Mapping[str, int], seed: int) -> dict[str, list[Scene]]:
    """Scenes of every split asked for. A split's scenes do not depend on which other splits are drawn."""
    return {split: draw_split(split, count, seed) for split, count in splits.items()}
