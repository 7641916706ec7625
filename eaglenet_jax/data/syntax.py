"""Syntax of captions: parsed once at data preparation, stored with the captions, read as arrays of fixed size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError

SYNTAX_FOLDER = "syntax"
KINDS = ("verbs", "nouns", "adjectives")
LOST_SHARE = 0.01
Spans = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Syntax:
    """Verbs, nouns and adjectives of a caption in their order.

    A word is a span of token codes: its first one and the one after its last (the start token is not counted).

    Attributes:
        verbs: Spans of the verbs.
        nouns: Spans of the nouns.
        adjectives: Spans of the adjectives.
        noun_verb: For each noun the index in `verbs` of the verb that it depends on, 0 where there is no verb.
        adjective_noun: For each adjective the index in `nouns` of the noun that it describes.
    """

    verbs: Spans = ()
    nouns: Spans = ()
    adjectives: Spans = ()
    noun_verb: tuple[int, ...] = ()
    adjective_noun: tuple[int, ...] = ()


def syntax_content(parser: str, fingerprint: str, parses: Sequence[Syntax]) -> bytes:
    """Return the content of the file of a split.

    Args:
        parser: Name of the parser.
        fingerprint: Fingerprint of the prepared dataset.
        parses: Syntax of every caption, in order.
    """
    rows = [[getattr(parse, field.name) for field in dataclasses.fields(Syntax)] for parse in parses]
    return json.dumps({"parser": parser, "fingerprint": fingerprint, "captions": rows}).encode()


def syntax_file(prepared: Path, split: str) -> Path:
    """Return the file of the syntax of a split."""
    return prepared / SYNTAX_FOLDER / f"{split}.json"


def read_syntax(prepared: Path, split: str, fingerprint: str, captions: int) -> list[Syntax]:
    """Read the syntax of a split's captions, in their order.

    Args:
        prepared: The prepared directory.
        split: Name of the split.
        fingerprint: Fingerprint of the prepared dataset.
        captions: Number of captions.

    Raises:
        UserError: The file is missing, damaged or of other captions.
    """
    file = syntax_file(prepared, split)
    command = f"parse the captions with python -m data_prep.syntax --prepared={prepared}"
    try:
        content = json.loads(file.read_text())
        if content["fingerprint"] != fingerprint or len(content["captions"]) != captions:
            raise UserError(f"{file} belongs to other captions than the split's present ones; {command}")
        return [_syntax(row) for row in content["captions"]]
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}, which this system needs; {command}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); delete it and {command}") from error


def _syntax(row: Sequence[Any]) -> Syntax:
    verbs, nouns, adjectives = (tuple((int(first), int(stop)) for first, stop in words) for words in row[:3])
    noun_verb, adjective_noun = (tuple(int(place) for place in places) for places in row[3:])
    return Syntax(verbs, nouns, adjectives, noun_verb, adjective_noun)


def syntax_arrays(
    parses: Sequence[Syntax], template: Mapping[str, np.ndarray], max_words: int
) -> dict[str, np.ndarray]:
    """Convert parses to arrays of fixed size, one row a caption.

    Words beyond the template's sizes are dropped. A noun whose verb is dropped gets the last verb that is kept; an
    adjective whose noun is dropped is dropped too.

    Args:
        parses: Syntax of every caption.
        template: Arrays of the wanted shape and type (layers/text_hierarchy.py: `empty_syntax`).
        max_words: L; the spans returned count the start token, and are truncated as rows of tokens are.
    """
    arrays = {name: np.zeros((len(parses), *array.shape[1:]), array.dtype) for name, array in template.items()}
    limits = {name: template[name].shape[1] for name in KINDS}
    for row, parse in enumerate(parses):
        verbs, nouns = (_kept(getattr(parse, name), limits[name], max_words) for name in ("verbs", "nouns"))
        described = [
            (span, noun) for span, noun in zip(parse.adjectives, parse.adjective_noun, strict=True) if noun < len(nouns)
        ]
        adjectives = _kept(tuple(span for span, _ in described), limits["adjectives"], max_words)
        for name, spans in (("verbs", verbs), ("nouns", nouns), ("adjectives", adjectives)):
            arrays[name][row, : len(spans)] = np.reshape(spans, (-1, 2))
        noun_verb = np.asarray(parse.noun_verb[: len(nouns)], np.int32)
        arrays["noun_verb"][row, : len(nouns)] = np.minimum(noun_verb, max(len(verbs) - 1, 0))
        arrays["adjective_noun"][row, : len(adjectives)] = [noun for _, noun in described[: len(adjectives)]]
    return arrays


def word_counts(parses: Sequence[Syntax], max_words: int) -> dict[str, np.ndarray]:
    """Count the words of every caption by kind that stand in a row of `max_words` tokens, [captions] each."""
    return {kind: np.array([len(_in_row(getattr(p, kind), max_words)) for p in parses], int) for kind in KINDS}


def sufficient_limits(counts: Mapping[str, np.ndarray], share: float = LOST_SHARE) -> dict[str, int]:
    """Find the smallest numbers of words a caption by which less than a share of all words is lost, at least 1.

    Args:
        counts: From `word_counts`.
        share: Of the words of each kind.
    """
    found = {}
    for kind, count in counts.items():
        most = 1
        while np.maximum(count - most, 0).sum() >= max(share * count.sum(), 1):
            most += 1
        found[kind] = most
    return found


def cut_report(counts: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> str:
    """Describe the words that arrays of fixed size do not hold, "" where they hold all.

    Args:
        counts: From `word_counts`.
        arrays: From `syntax_arrays`, of the same captions and the same row length.
    """
    parts = []
    for kind, count in counts.items():
        every, kept = int(count.sum()), int((arrays[kind][..., 1] > arrays[kind][..., 0]).sum())
        if cut := every - kept:
            parts.append(f"{cut:,} of {every:,} {kind} ({cut / every:.1%}; most_{kind}={arrays[kind].shape[1]})")
    return ", ".join(parts)


def behind_report(parses: Sequence[Syntax], counts: Mapping[str, np.ndarray]) -> str:
    """Describe the words that stand behind the row of tokens, "" where none does.

    Args:
        parses: Of all captions.
        counts: From `word_counts`, of the same captions.
    """
    parts = []
    for kind, count in counts.items():
        every = sum(len(getattr(parse, kind)) for parse in parses)
        if behind := every - int(count.sum()):
            parts.append(f"{behind:,} of {every:,} {kind} ({behind / every:.1%})")
    return ", ".join(parts)


def _in_row(spans: Spans, max_words: int) -> list[tuple[int, int]]:
    """Return the spans that begin between the start token and the end token (at the latest the last of the row)."""
    last = max_words - 1
    return [(first + 1, min(stop + 1, last)) for first, stop in spans if first + 1 < last]


def _kept(spans: Spans, most: int, max_words: int) -> list[tuple[int, int]]:
    return _in_row(spans, max_words)[:most]
