"""Clips of several events: which scenes follow each other in a clip, and which of them its captions tell of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_prep.moving_shapes.captions import CAPTIONS_PER_CLIP, caption_in_form, captions, in_order
from data_prep.moving_shapes.scenes import SPLIT_SHARE, TWIN_FREQUENCY, Scene, SceneDraw, draw_scene, draw_split
from eaglenet_jax.errors import UserError

MOST_EVENTS = 6
LOOK_ALIKE_TRIES = 1000  # draws of one look-alike before the clip is filled with any other scene


@dataclasses.dataclass(frozen=True)
class Events:
    """Content of the clips of a version of MovingShapes.

    Attributes:
        count: Events of a clip, 1 to 6, cut hard one after the other.
        distractors: Chance of every other event of a clip to have the moving shape, its colour and the background
            of the event that the first caption tells of, with another motion, size or second shape.
        pairs: Chance of every caption after the first to tell of two events that follow each other.
        paragraph: All captions tell of all events, in their order.

    Raises:
        UserError: A value is out of its range, or would have no effect on clips of one event.
    """

    count: int = 1
    distractors: float = 0.0
    pairs: float = 0.0
    paragraph: bool = False

    def __post_init__(self) -> None:
        """Raise UserError for values out of their range."""
        if not 1 <= self.count <= MOST_EVENTS:
            raise UserError(f"MovingShapes has clips of 1 to {MOST_EVENTS} events, not {self.count}")
        for name in ("distractors", "pairs"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"MovingShapes: {name} is a chance from 0 to 1, not {getattr(self, name)}")
        if self.count == 1 and (self.distractors or self.pairs or self.paragraph):
            raise UserError("MovingShapes: distractors, pairs and paragraphs need clips of two events or more")
        if self.pairs and self.paragraph:
            raise UserError("MovingShapes: captions tell of pairs of events or of all; leave out pairs or paragraph")

    @property
    def label(self) -> str:
        """Part of a folder's name that encodes these values, "" for clips of one event."""
        if self.count == 1:
            return ""
        told = "paragraph" if self.paragraph else f"pairs{self.pairs:g}"
        return f"_events{self.count}_distractors{self.distractors:g}_{told}"


ONE_EVENT = Events()


@dataclasses.dataclass(frozen=True)
class EventClip:
    """Scenes of a clip in their order. first: index of the scene that the first caption tells of."""

    scenes: tuple[Scene, ...]
    first: int = 0


@dataclasses.dataclass(frozen=True)
class EventCaption:
    """A caption and the events that it tells of, as indices in the order of the text."""

    text: str
    events: tuple[int, ...]


def draw_event_clips(split: str, count: int, seed: int, events: Events) -> list[EventClip]:
    """Draw the clips of one split.

    All events of a split are distinct, and none fits another's complete description, within a clip and across clips.

    Args:
        split: A name of `SPLIT_SHARE`.
        count: Number of clips.
        seed: The data are a function of it.
        events: What a clip consists of.

    Raises:
        UserError: The split is unknown, or has fewer combinations than events are wanted.
    """
    if events.count == 1:
        return [EventClip((scene,)) for scene in draw_split(split, count, seed)]
    rng = np.random.default_rng([seed, list(SPLIT_SHARE).index(split) if split in SPLIT_SHARE else 0, events.count])
    drawn = SceneDraw(split, count * events.count, seed, rng)
    waiting: list[Scene] = []  # twins of events of clips before, one of which begins each next clip
    clips: list[EventClip] = []
    while len(clips) < count:
        told = waiting.pop(0) if waiting else drawn.next()
        twin = told.twin()
        if twin is not None and rng.random() < TWIN_FREQUENCY and len(clips) + len(waiting) + 1 < count:
            waiting += [twin] if drawn.add(twin) else []
        others = [
            _look_alike(told, drawn) if rng.random() < events.distractors else drawn.next()
            for _ in range(events.count - 1)
        ]
        first = int(rng.integers(events.count))
        clips.append(EventClip((*others[:first], told, *others[first:]), first))
    return clips


def _look_alike(told: Scene, drawn: SceneDraw) -> Scene:
    """Draw a scene whose moving shape, colour and background are another's; any scene where none is left."""
    same = {"shape": told.shape, "color": told.color, "background": told.background}
    for _ in range(LOOK_ALIKE_TRIES):
        scene = draw_scene(drawn.rng)
        if scene.other_shape != told.shape and scene.other_color != told.color:
            scene = dataclasses.replace(scene, **same)
            if drawn.add(scene):
                return scene
    return drawn.next()


def event_captions(scenes: Sequence[Scene], first: int, events: Events, rng: np.random.Generator) -> list[EventCaption]:
    """Return five distinct captions of a clip.

    The first is complete for the event that it tells of. The following ones tell of the events in turn, so that each of
    up to five is told at least once, or of two that follow each other, or all captions tell of all events.

    Args:
        scenes: Of the clip, in order.
        first: The event that the first caption tells of.
        events: How captions tell of events.
        rng: Of the wording.
    """
    if len(scenes) == 1:
        return [EventCaption(text, (0,)) for text in captions(scenes[0], rng)]
    turns = [first, *(int(i) for i in rng.permutation(len(scenes)) if i != first)]
    result: list[EventCaption] = []
    for number in range(CAPTIONS_PER_CLIP):
        told: tuple[int, ...] = (turns[number % len(turns)],)
        if events.paragraph:
            told = tuple(range(len(scenes)))
        elif number and rng.random() < events.pairs:
            begin = min(told[0], len(scenes) - 2)
            told = (begin, begin + 1)
        text = _told(scenes, told, number, rng)
        while any(text == caption.text for caption in result):
            text = _told(scenes, told, number, rng)
        result.append(EventCaption(text, told))
    return result


def _told(scenes: Sequence[Scene], told: Sequence[int], form: int, rng: np.random.Generator) -> str:
    return in_order([caption_in_form(scenes[event], form, rng) for event in told])
