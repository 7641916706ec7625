"""Storage of the syntax of a prepared dataset's captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.syntax.parsing import Parser, grammar_parser
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.syntax import Syntax, syntax_content, syntax_file
from eaglenet_jax.data.tokenizer import Tokenizer, clean_text

GRAMMAR = "grammar"


def in_codes(syntax: Syntax, text: str, tokenizer: Tokenizer) -> Syntax:
    """Convert spans of characters of a cleaned text to spans of CLIP's byte-pair codes."""
    verbs, nouns, adjectives = (
        tuple(tokenizer.spans(text, words)) for words in (syntax.verbs, syntax.nouns, syntax.adjectives)
    )
    return Syntax(verbs, nouns, adjectives, syntax.noun_verb, syntax.adjective_noun)


def parse_captions(texts: Sequence[str], parser: Parser) -> list[Syntax]:
    """Parse captions to spans of codes. A repeated text is parsed once."""
    tokenizer = Tokenizer()
    cleaned = [clean_text(text) for text in texts]
    distinct = list(dict.fromkeys(cleaned))
    parsed = {text: in_codes(found, text, tokenizer) for text, found in zip(distinct, parser(distinct), strict=True)}
    return [parsed[text] for text in cleaned]


def store_syntax(prepared: Path, name: str, parser: Parser) -> dict[str, list[Syntax]]:
    """Parse all captions of a prepared dataset and write one file a split.

    Args:
        prepared: The prepared directory.
        name: Name of the parser.
        parser: The parser.

    Returns:
        Syntax of the captions by split.
    """
    dataset = PreparedDataset.open(prepared)
    parsed = {}
    for split in dataset.manifest["splits"]:
        texts = dataset.split(split).captions.texts
        file = syntax_file(prepared, split)
        file.parent.mkdir(exist_ok=True)
        parsed[split] = parse_captions(texts, parser)
        write_atomically(file, syntax_content(name, dataset.fingerprint, parsed[split]))
    return parsed


def has_syntax(prepared: Path) -> bool:
    """Return whether the syntax of every split of a prepared dataset is stored."""
    splits = PreparedDataset.open(prepared).manifest["splits"]
    return all(syntax_file(prepared, split).is_file() for split in splits)


def ensure_grammar_syntax(prepared: Path) -> None:
    """Parse the captions of prepared MovingShapes by their grammar, unless syntax is stored already."""
    if not has_syntax(prepared):
        store_syntax(prepared, GRAMMAR, grammar_parser)
