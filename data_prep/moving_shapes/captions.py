"""Caption grammar of MovingShapes: five paraphrases a scene, and the exact parse of every caption it can produce."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from data_prep.moving_shapes.scenes import BACKGROUNDS, COLORS, Scene

Choice = TypeVar("Choice")

SHAPE_NOUNS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross",),
}
SIZE_ADJECTIVES = {"small": ("small", "little"), "large": ("large", "big")}
BACKGROUND_NOUNS = ("background", "backdrop")
# (third person, participle, what follows the verb)
VERB_PHRASES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "left": (("moves", "moving", "left"), ("slides", "sliding", "left"), ("travels", "travelling", "left")),
    "right": (("moves", "moving", "right"), ("slides", "sliding", "right"), ("travels", "travelling", "right")),
    "up": (("moves", "moving", "up"), ("slides", "sliding", "up"), ("rises", "rising", "")),
    "down": (("moves", "moving", "down"), ("slides", "sliding", "down"), ("sinks", "sinking", "")),
    "clockwise": (("circles", "circling", "clockwise"), ("loops", "looping", "clockwise")),
    "counterclockwise": (("circles", "circling", "counterclockwise"), ("loops", "looping", "counterclockwise")),
    "grow": (("grows", "growing", ""), ("expands", "expanding", "")),
    "shrink": (("shrinks", "shrinking", ""), ("contracts", "contracting", "")),
    "appear": (("appears", "appearing", ""), ("fades", "fading", "in")),
    "vanish": (("vanishes", "vanishing", ""), ("fades", "fading", "out")),
    "blink": (("blinks", "blinking", ""), ("flashes", "flashing", "")),
    "bounce": (("bounces", "bouncing", ""), ("hops", "hopping", "")),
    "approach": (("approaches", "approaching", ""), ("moves", "moving", "towards")),
    "leave": (("departs", "departing", "from"), ("moves", "moving", "away from")),
}
RELATION_WORDS = {
    "beside": ("beside", "next to"),
    "behind": ("behind",),
    "before": ("in front of",),
    "around": ("around",),
    "target": ("",),
}

# The forms of a clip's captions: the first is complete; some of the others leave out size, background or both.
_FORMS: tuple[dict[str, bool], ...] = (
    {},
    {"progressive": True},
    {"background_first": True},
    {"background": False},
    {"size": False, "progressive": True},
)
CAPTIONS_PER_CLIP = len(_FORMS)
THEN = ", then "  # between clauses about events that follow each other


def captions(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """Return five distinct captions. The first is complete; some of the others leave out size, background or both."""
    texts: list[str] = []
    for form in range(CAPTIONS_PER_CLIP):
        text = caption_in_form(scene, form, rng)
        while text in texts:
            text = caption_in_form(scene, form, rng)
        texts.append(text)
    return tuple(texts)


def caption_in_form(scene: Scene, form: int, rng: np.random.Generator) -> str:
    """Return a caption of one scene. form: 0 for a complete one, up to `CAPTIONS_PER_CLIP` - 1."""
    return _clause(scene, rng, **_FORMS[form])


def in_order(clauses: Sequence[str]) -> str:
    """Join captions of events that follow each other to one."""
    return THEN.join(clauses)


def _clause(
    scene: Scene,
    rng: np.random.Generator,
    *,
    progressive: bool = False,
    background_first: bool = False,
    size: bool = True,
    background: bool = True,
) -> str:
    def pick(values: Sequence[Choice]) -> Choice:
        return values[int(rng.integers(len(values)))]

    subject = f"a {pick(SIZE_ADJECTIVES[scene.size]) if size else ''} {scene.color} {pick(SHAPE_NOUNS[scene.shape])}"
    present, participle, particle = pick(VERB_PHRASES[scene.motion])
    words = [subject, "is" if progressive else "", participle if progressive else present, particle]
    if scene.other_shape is not None:
        words += [pick(RELATION_WORDS[scene.relation]), f"a {scene.other_color} {pick(SHAPE_NOUNS[scene.other_shape])}"]
    if background:
        place = f"on a {scene.background} {pick(BACKGROUND_NOUNS)}"
        words = [place, *words] if background_first else [*words, place]
    return " ".join(" ".join(words).split())


@dataclasses.dataclass(frozen=True)
class CaptionParse:
    """Parse of a caption: positions in `caption_words(text)` of the content words by part of speech, and attachments.

    `noun_verb` pairs every noun with the verb of its clause, whose subject, object or place it is, `adjective_noun`
    every adjective with the noun that it describes. A clause has exactly one verb; the auxiliary "is" is not one.
    """

    verbs: tuple[int, ...]
    nouns: tuple[int, ...]
    adjectives: tuple[int, ...]
    noun_verb: tuple[tuple[int, int], ...]
    adjective_noun: tuple[tuple[int, int], ...]


_VERBS = frozenset(form for phrases in VERB_PHRASES.values() for phrase in phrases for form in phrase[:2])
_NOUNS = frozenset(BACKGROUND_NOUNS).union(*SHAPE_NOUNS.values())
_ADJECTIVES = frozenset(COLORS + BACKGROUNDS).union(*SIZE_ADJECTIVES.values())


def caption_words(text: str) -> list[str]:
    """Return the words of a caption without its commas."""
    return text.replace(",", " ").split()


def parse(text: str) -> CaptionParse:
    """Return the true syntax of a caption of this grammar, in which every word has one part of speech."""
    words = caption_words(text)
    verbs = tuple(i for i, word in enumerate(words) if word in _VERBS)
    nouns = tuple(i for i, word in enumerate(words) if word in _NOUNS)
    adjectives = tuple(i for i, word in enumerate(words) if word in _ADJECTIVES)
    ends = [i for i, word in enumerate(words) if word == THEN.strip(", ")]
    clause = [sum(end < i for end in ends) for i in range(len(words))]
    return CaptionParse(
        verbs=verbs,
        nouns=nouns,
        adjectives=adjectives,
        noun_verb=tuple((noun, verb) for noun in nouns for verb in verbs if clause[noun] == clause[verb]),
        adjective_noun=tuple((a, min(noun for noun in nouns if noun > a)) for a in adjectives),
    )
