"""The syntax of captions: parsed once at data preparation, stored beside the captions, read as arrays of fixed size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError

SYNTAX_FOLDER = "syntax"
Spans = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Syntax:
    """Words of a caption in their order, each as first token code and the one behind its last (no start token).

    noun_verb: for each noun which of `verbs` it hangs on, 0 where there is no verb. adjective_noun: for each adjective
    which of `nouns` it describes.
    """

    verbs: Spans = ()
    nouns: Spans = ()
    adjectives: Spans = ()
    noun_verb: tuple[int, ...] = ()
    adjective_noun: tuple[int, ...] = ()


def syntax_content(parser: str, fingerprint: str, parses: Sequence[Syntax]) -> bytes:
    """The file of a split. parser: its name. fingerprint: of the prepared dataset."""
    rows = [[getattr(parse, field.name) for field in dataclasses.fields(Syntax)] for parse in parses]
    return json.dumps({"parser": parser, "fingerprint": fingerprint, "captions": rows}).encode()


def syntax_file(prepared: Path, split: str) -> Path:
    """Where the syntax of a split lies."""
    return prepared / SYNTAX_FOLDER / f"{split}.json"


def read_syntax(prepared: Path, split: str, fingerprint: str, captions: int) -> list[Syntax]:
    """The syntax of a split's captions, in their order. UserError where it is missing, damaged or of other captions."""
    file = syntax_file(prepared, split)
    command = f"parse the captions with python -m data_prep.syntax --prepared={prepared}"
    try:
        content = json.loads(file.read_text())
        if content["fingerprint"] != fingerprint or len(content["captions"]) != captions:
            raise UserError(f"{file} is of other captions than those that are there now; {command}")
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
    """Arrays like those of `template` (layers/text_hierarchy.py: `empty_syntax`), one row a caption.

    max_words: L; spans count the start token, and what is cut from a row of tokens is cut here. Words beyond the
    template's sizes are left out. A noun whose verb is left out hangs on the last one that is kept; an adjective whose
    noun is left out goes with it.
    """
    arrays = {name: np.zeros((len(parses), *one.shape[1:]), one.dtype) for name, one in template.items()}
    limits = {name: template[name].shape[1] for name in ("verbs", "nouns", "adjectives")}
    for row, parse in enumerate(parses):
        verbs, nouns = (_kept(getattr(parse, name), limits[name], max_words) for name in ("verbs", "nouns"))
        described = [
            (span, noun) for span, noun in zip(parse.adjectives, parse.adjective_noun, strict=True) if noun < len(nouns)
        ]
        adjectives = _kept(tuple(span for span, _ in described), limits["adjectives"], max_words)
        for name, spans in (("verbs", verbs), ("nouns", nouns), ("adjectives", adjectives)):
            arrays[name][row, : len(spans)] = np.reshape(spans, (-1, 2))
        hangs = np.asarray(parse.noun_verb[: len(nouns)], np.int32)
        arrays["noun_verb"][row, : len(nouns)] = np.minimum(hangs, max(len(verbs) - 1, 0))
        arrays["adjective_noun"][row, : len(adjectives)] = [noun for _, noun in described[: len(adjectives)]]
    return arrays


def _kept(spans: Spans, most: int, max_words: int) -> list[tuple[int, int]]:
    """Spans in a row of tokens: behind the start token and before the end token, which is the last at the latest."""
    last = max_words - 1
    return [(first + 1, min(stop + 1, last)) for first, stop in spans if first + 1 < last][:most]
