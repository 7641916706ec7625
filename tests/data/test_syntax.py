"""Syntax in byte-pair codes, as a file, and as arrays of fixed size."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.data import pipeline, syntax
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.syntax import (
    Syntax,
    behind_report,
    cut_report,
    read_syntax,
    sufficient_limits,
    syntax_arrays,
    syntax_content,
    syntax_file,
    word_counts,
)
from eaglenet_jax.data.tokenizer import Tokenizer, clean_text
from eaglenet_jax.errors import UserError
from eaglenet_jax.layers.text_hierarchy import empty_syntax


def test_spans_of_words_are_their_codes():
    tokenizer = Tokenizer()
    text = clean_text("A man's GRØNN t-shirt, counterclockwise!  Encyclopaedia")
    words = ["a", "man", "grønn", "t", "shirt", "counterclockwise", "encyclopaedia"]
    places, start = [], 0
    for word in words:
        start = text.index(word, start)
        places.append((start, start + len(word)))
        start += len(word)
    spans = tokenizer.spans(text, places)
    codes = tokenizer.codes(text)
    for word, (first, stop) in zip(words, spans, strict=True):
        assert codes[first:stop] == tokenizer.codes(word)
    assert spans[5][1] - spans[5][0] > 1  # in several pieces
    assert tokenizer.spans("don't", [(0, 2), (2, 5)]) == [(0, 1), (0, 2)]  # spaCy's do + n't are CLIP's don + 't


SYNTAX = Syntax(
    verbs=((2, 4), (9, 10)),
    nouns=((1, 2), (5, 6), (12, 14)),
    adjectives=((0, 1), (4, 5), (11, 12)),
    noun_verb=(0, 1, 1),
    adjective_noun=(0, 1, 2),
)


def test_arrays_hold_the_words_behind_the_start_token():
    found = syntax_arrays([SYNTAX, Syntax()], empty_syntax(1, 3, 4, 3), max_words=20)
    np.testing.assert_array_equal(found["verbs"][0], [[3, 5], [10, 11], [0, 0]])
    np.testing.assert_array_equal(found["nouns"][0], [[2, 3], [6, 7], [13, 15], [0, 0]])
    np.testing.assert_array_equal(found["noun_verb"][0], [0, 1, 1, 0])
    np.testing.assert_array_equal(found["adjective_noun"][0], [0, 1, 2])
    assert not any(one[1].any() for one in found.values()) and found["verbs"].dtype == np.int32


def test_truncated_syntax_is_still_consistent():
    """A row of 14 tokens ends with code 12. A noun whose verb is dropped gets the last verb that is kept."""
    found = syntax_arrays([SYNTAX], empty_syntax(1, 1, 4, 3), max_words=14)
    np.testing.assert_array_equal(found["nouns"][0], [[2, 3], [6, 7], [0, 0], [0, 0]])
    np.testing.assert_array_equal(found["noun_verb"][0], [0, 0, 0, 0])
    np.testing.assert_array_equal(found["adjectives"][0], [[1, 2], [5, 6], [0, 0]])
    partly = syntax_arrays([SYNTAX], empty_syntax(1, 2, 3, 3), max_words=15)
    np.testing.assert_array_equal(partly["nouns"][0, 2], [13, 14])  # the first of its two codes is left
    few = syntax_arrays([SYNTAX], empty_syntax(1, 2, 1, 1), max_words=20)
    np.testing.assert_array_equal(few["adjective_noun"], [[0]])


def test_what_is_cut_is_counted_and_what_is_behind_the_row_is_not_a_word_of_it():
    counts = word_counts([SYNTAX, Syntax()], max_words=14)  # the third noun stands behind the row
    assert [counts[kind].tolist() for kind in ("verbs", "nouns", "adjectives")] == [[2, 0], [2, 0], [3, 0]]
    arrays = syntax_arrays([SYNTAX, Syntax()], empty_syntax(1, 2, 2, 3), max_words=14)
    assert cut_report(counts, arrays) == "1 of 3 adjectives (33.3%; most_adjectives=3)"  # its noun is not there
    few = syntax_arrays([SYNTAX, Syntax()], empty_syntax(1, 1, 1, 3), max_words=20)
    assert cut_report(word_counts([SYNTAX, Syntax()], 20), few) == (
        "1 of 2 verbs (50.0%; most_verbs=1), 2 of 3 nouns (66.7%; most_nouns=1), "
        "2 of 3 adjectives (66.7%; most_adjectives=3)"
    )
    assert not cut_report(word_counts([SYNTAX], 20), syntax_arrays([SYNTAX], empty_syntax(1, 2, 3, 3), 20))


def test_sufficient_limits_lose_less_than_the_share():
    counts = {"verbs": np.array([1] * 98 + [2, 3]), "nouns": np.array([0, 0])}
    # Of 103 verbs, a limit of 1 loses 3 (2.9 %), one of 2 loses 1 (0.97 %).
    found = {share: sufficient_limits(counts, share)["verbs"] for share in (0.03, 0.01, 0.009)}
    assert found == {0.03: 1, 0.01: 2, 0.009: 3} and sufficient_limits(counts)["nouns"] == 1


def write(dataset: PreparedDataset, split: str, parses: list[Syntax], fingerprint: str | None = None) -> None:
    file = syntax_file(dataset.directory, split)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(syntax_content("a test", fingerprint or dataset.fingerprint, parses))


@pytest.fixture
def parsed(prepared):
    parses = [Syntax(verbs=((1, 2),), nouns=((i % 3, i % 3 + 1),), noun_verb=(0,)) for i in range(14)]
    write(prepared, "train", parses)
    write(prepared, "test", parses[:8])
    return prepared.with_extra({"syntax": empty_syntax(1, 2, 3, 2)}, {}, max_words=8)


def test_what_is_cut_is_said_once_for_a_split(prepared, caplog):
    write(prepared, "test", [SYNTAX] * 8)
    write(prepared, "train", [SYNTAX] * 14)
    few = prepared.with_extra({"syntax": empty_syntax(1, 1, 3, 3)}, {}, max_words=20)
    few.split("test"), few.split("test")
    (record,) = caplog.records
    assert record.getMessage().endswith("of the captions of split 'test', 8 of 16 verbs (50.0%; most_verbs=1) are cut")
    prepared.with_extra({"syntax": empty_syntax(1, 2, 3, 3)}, {}, max_words=20).split("train")
    assert len(caplog.records) == 1


def test_words_behind_the_row_are_said(prepared, caplog):
    write(prepared, "test", [SYNTAX] * 8)
    short = prepared.with_extra({"syntax": empty_syntax(1, 2, 3, 3)}, {}, max_words=14)
    short.split("test"), short.split("test")
    _, record = caplog.records  # the first: an adjective is cut whose noun stands there
    assert record.getMessage().endswith(
        "of the captions of split 'test', 8 of 24 nouns (33.3%) stand behind the row of 14 tokens and are not read"
    )
    assert not behind_report([SYNTAX], word_counts([SYNTAX], 20))


def test_syntax_travels_with_its_captions(parsed, prepared):
    tokenizer = Tokenizer(8)
    split = parsed.split("test")
    nouns = np.concatenate([b["text_extra"]["syntax"]["nouns"][b["valid"]]
                            for b in pipeline.text_batches(split, tokenizer, batch_size=3)])  # fmt: skip
    np.testing.assert_array_equal(nouns[:, 0, 0], [1 + i % 3 for i in range(8)])
    (first,) = pipeline.text_batches(split, tokenizer, batch_size=5, queries="first")
    rows = np.searchsorted(split.captions.text_video, np.arange(5))
    np.testing.assert_array_equal(first["text_extra"]["syntax"]["nouns"], nouns[rows])

    train = parsed.split("train")
    dataset = pipeline.train_dataset(train, tokenizer, batch_size=4, max_frames=2, seed=0)
    by_id = dict(zip(pipeline.example_ids(train.captions.ids), train.captions.extra["syntax"]["nouns"], strict=True))
    (batch,) = pipeline.batches(dataset, start=1, stop=2)
    for text_id, nouns in zip(batch["text_id"], batch["text_extra"]["syntax"]["nouns"], strict=True):
        np.testing.assert_array_equal(nouns, by_id[text_id])
    plain = pipeline.train_dataset(prepared.split("train"), tokenizer, batch_size=4, max_frames=2, seed=0)
    assert "text_extra" not in plain[1] and plain[1]["tokens"].tolist() == batch["tokens"].tolist()


def test_missing_damaged_and_foreign_files_are_named(parsed, prepared):
    folder = prepared.directory
    write(prepared, "test", [SYNTAX], fingerprint="other")
    with pytest.raises(UserError, match="belongs to other captions"):
        parsed.split("test")
    syntax_file(folder, "test").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        parsed.split("test")
    syntax_file(folder, "test").unlink()
    with pytest.raises(UserError, match=r"there is no .*python -m data_prep\.syntax --prepared="):
        parsed.split("test")
    prepared.split("test")
    write(prepared, "test", [SYNTAX])
    assert read_syntax(folder, "test", prepared.fingerprint, 1) == [SYNTAX]
    assert syntax.SYNTAX_FOLDER in str(syntax_file(folder, "test"))
