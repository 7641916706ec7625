"""How sure an answer is: where its scores lie among the best scores of random sentences on the same index."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eaglenet_jax.search.moments import Moment

# Everyday sentences of several lengths. Most fit nothing in a collection; the few that do become its examples.
SENTENCES = (
    "a dog", "a cat", "a horse", "birds", "a fish under water", "cows on a field", "an elephant", "a snake",
    "a car", "cars on a road", "a train", "a plane takes off", "a boat on a lake", "a bicycle", "a motorcycle",
    "a person rides a bike", "traffic at night", "a city from above", "a mountain", "the sea", "a river in a forest",
    "snow", "rain on a window", "a sunset", "fire", "flowers in a garden", "stars in the night sky", "a rocket",
    "a person talks to the camera", "two people talk at a table", "a crowd of people", "a child plays", "a baby",
    "a man plays the guitar", "a woman sings", "someone plays the piano", "people dance", "a wedding",
    "a football match", "someone runs", "a person swims", "a man lifts weights", "a skateboard trick", "a gymnast",
    "someone cooks in a kitchen", "vegetables are cut", "a cup of coffee", "a cake", "people eat in a restaurant",
    "a computer screen", "hands type on a keyboard", "a phone", "an old black and white film", "a cartoon",
    "a robot", "a toy", "a map", "text on a white background", "a bottle on a table", "an empty room", "a bed",
    "a doctor in a hospital", "a teacher at a blackboard", "a man in a suit gives a speech", "a house", "a bridge",
)  # fmt: skip
DEMO_EXAMPLES = tuple(
    f"a {colour} {shape} {motion}"
    for colour, shape, motion in zip(
        ("red", "green", "blue", "yellow", "white", "red", "blue", "green", "yellow", "white", "red", "green") * 2,
        ("circle", "square", "triangle", "star", "cross", "star", "circle", "triangle") * 3,
        ("moves left", "bounces", "grows", "blinks", "rises", "sinks", "shrinks", "circles clockwise") * 3,
        strict=True,
    )
)
RULES = 1  # to be increased by a change of this file that changes levels
STRONG, POSSIBLE, WEAK = "strong", "possible", "weak"
# Levels of a normal distribution: 99 and 90 of 100 random sentences find nothing that scores as high.
DEVIATIONS = {STRONG: 2.33, POSSIBLE: 1.28}
LOWER = 15.87  # percentile that lies one standard deviation below the median of a normal distribution
LEAST_SHARE = 0.75  # of the lower half's spread
LEAST_SPREAD = 1e-6
MOST_EXAMPLES = 5
NEGATIONS = re.compile(r"\b(no one|no|not|without|nobody|nothing|never|none|neither|nor|except|\w+n['’]t)\b", re.I)


@dataclasses.dataclass(frozen=True)
class Levels:
    """Scores from which a moment counts as possible, and as strong."""

    possible: float
    strong: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> Levels:
        """Fit a normal distribution to random sentences' best scores.

        Its spread is that of the upper half, but at most that of the lower half, because some of the sentences do
        describe something in the collection, and at least three quarters of it, because the highest scores of what fits
        nothing can lie close together.
        """
        low, median, high = np.percentile(scores, [LOWER, 50, 100 - LOWER])
        lower = float(median - low)
        spread = max(min(float(high - median), lower), LEAST_SHARE * lower, LEAST_SPREAD)
        return cls(float(median) + DEVIATIONS[POSSIBLE] * spread, float(median) + DEVIATIONS[STRONG] * spread)

    def word(self, score: float) -> str:
        """Return the word for a score."""
        return STRONG if score >= self.strong else POSSIBLE if score >= self.possible else WEAK


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Meaning of scores on one index.

    Attributes:
        cosine: Levels of the cosines of pooled vectors with a sentence; None where there is nothing to measure.
        head: Levels of the head's similarities; None if it does not rerank.
        examples: Sentences that fit the index, best first; empty if none of those tried does.
    """

    cosine: Levels | None
    head: Levels | None
    examples: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether there are levels."""
        return self.cosine is not None

    def judged(self, moments: Sequence[Moment]) -> list[Moment]:
        """Return the moments of a sentence with their `confidence`."""
        return [
            moment if levels is None else dataclasses.replace(moment, confidence=levels.word(moment.score))
            for moment in moments
            for levels in [self.head if moment.reranked else self.cosine]
        ]


@dataclasses.dataclass(frozen=True)
class Probe:
    """Best scores of a sentence on an index.

    Attributes:
        cosine: Highest cosine of a window.
        head: Highest similarity that the head gives one of the nearest; None where it does not rerank.
        path: File of the best window.
    """

    cosine: float
    head: float | None
    path: str

    @property
    def score(self) -> float:
        """The score by which windows are ranked."""
        return self.cosine if self.head is None else self.head


def calibrate(probe: Callable[[str], Probe | None], demo: bool) -> Calibration:
    """Measure what random sentences score at best on an index.

    Args:
        probe: probe(sentence) returns its best scores; None for an index without rows whose files are there.
        demo: Whether the model knows MovingShapes alone: its examples are of that world then.
    """
    first, *others = SENTENCES
    found = {first: probe(first)}
    if found[first] is None:  # nor would the others find anything
        return Calibration(None, None)
    found |= {sentence: probe(sentence) for sentence in others}
    probes = [each for each in found.values() if each is not None]
    heads = [each.head for each in probes if each.head is not None]
    if demo:
        found = {sentence: probe(sentence) for sentence in DEMO_EXAMPLES}
    levels = Calibration(Levels.of([each.cosine for each in probes]), Levels.of(heads) if heads else None)
    least = (levels.head or levels.cosine).possible  # type: ignore[union-attr]
    fitting = {sentence: each for sentence, each in found.items() if each is not None and each.score >= least}
    return dataclasses.replace(levels, examples=_examples(fitting))


def sentences_id(demo: bool, rerank: int) -> str:
    """Return a hash of what `calibrate` depends on besides the probe and this code.

    Args:
        demo: As of `calibrate`.
        rerank: Candidates that the head scores in a probe.
    """
    rules = (RULES, SENTENCES, DEMO_EXAMPLES if demo else (), DEVIATIONS, LOWER, LEAST_SHARE, rerank)
    return hashlib.blake2b(repr(rules).encode(), digest_size=8).hexdigest()


def _examples(found: Mapping[str, Probe]) -> tuple[str, ...]:
    """Return the sentences with the best scores, each with its best window in another video."""
    chosen: dict[str, str] = {}
    for sentence in sorted(found, key=lambda sentence: -found[sentence].score):
        chosen.setdefault(found[sentence].path, sentence)
    return tuple(chosen.values())[:MOST_EXAMPLES]


def negation(text: str) -> str | None:
    """Return the first negative word of a query: models of this kind do not understand it."""
    found = NEGATIONS.search(text)
    return found[0] if found else None
