"""Accuracy of a parser on MovingShapes, whose grammar gives the true parse of every caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from data_prep.moving_shapes.render import describe
from data_prep.syntax.parsing import Parser, grammar_parser
from eaglenet_jax.data.syntax import Syntax

CHECKED_CLIPS = 200


def grammar_captions(clips: int = CHECKED_CLIPS, seed: int = 0) -> list[str]:
    """Return captions of MovingShapes' test split, five a clip."""
    annotations, _ = describe({"test": clips}, seed)
    return [sentence["caption"] for sentence in annotations["sentences"]]


def agreement(parser: Parser, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compare a parser with the grammar.

    Kinds are verbs, nouns, adjectives, and the attachments noun → verb and adjective → noun, where both words and the
    attachment must be right.

    Returns:
        By kind: "true", the count of the grammar; "found", that of the parser; "right", those in both; "recall", right
        / true, and "precision", right / found, in percent.
    """
    counts: dict[str, Counter[str]] = {}
    for truth, guess in zip(grammar_parser(texts), parser(texts), strict=True):
        for kind, (true, found) in _compared(truth, guess).items():
            count = counts.setdefault(kind, Counter())
            count.update(true=len(true), found=len(found), right=len(true & found))
    return {
        kind: {
            **count,
            "recall": 100.0 * count["right"] / max(count["true"], 1),
            "precision": 100.0 * count["right"] / max(count["found"], 1),
        }
        for kind, count in counts.items()
    }


def agreement_table(name: str, found: dict[str, dict[str, float]], captions: int) -> str:
    """Format the agreement as a table."""
    lines = [
        f"{name} on {captions:,} captions of MovingShapes, against the grammar that generated them, percent",
        f"{'':20}{'true':>8}{'found':>8}{'recall':>9}{'precision':>11}",
    ]
    for kind, row in found.items():
        numbers = f"{row['true']:8,.0f}{row['found']:8,.0f}{row['recall']:9.1f}{row['precision']:11.1f}"
        lines.append(f"{kind:20}{numbers}")
    return "\n".join(lines)


def _compared(truth: Syntax, guess: Syntax) -> dict[str, tuple[set, set]]:
    return {
        "verbs": (set(truth.verbs), set(guess.verbs)),
        "nouns": (set(truth.nouns), set(guess.nouns)),
        "adjectives": (set(truth.adjectives), set(guess.adjectives)),
        "noun → verb": (set(_noun_verb(truth)), set(_noun_verb(guess))),
        "adjective → noun": (set(_adjective_noun(truth)), set(_adjective_noun(guess))),
    }


def _noun_verb(parse: Syntax) -> Iterable[tuple]:
    return ((noun, parse.verbs[verb]) for noun, verb in zip(parse.nouns, parse.noun_verb, strict=True) if parse.verbs)


def _adjective_noun(parse: Syntax) -> Iterable[tuple]:
    pairs = zip(parse.adjectives, parse.adjective_noun, strict=True)
    return ((adjective, parse.nouns[noun]) for adjective, noun in pairs)
