from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.data.tokenizer import Tokenizer, clean_text
from eaglenet_jax.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "clip_tokens.json").read_text(encoding="utf-8"))
START, END = 49406, 49407


@pytest.mark.parametrize("index", range(len(GOLDEN["strings"])), ids=lambda i: repr(GOLDEN["strings"][i][:20]))
def test_tokens_equal_the_reference_tokenizer(index):
    tokens = Tokenizer(GOLDEN["max_words"]).tokenize([GOLDEN["strings"][index]])
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens[0], GOLDEN["ids"][index])


def test_text_is_repaired_unescaped_twice_collapsed_and_lower_cased():
    assert clean_text("  A\tdog &amp;lt;3  cafÃ©\n") == "a dog <3 café"


def test_long_texts_keep_their_end_token_and_are_counted():
    tokenizer = Tokenizer(max_words=8)
    texts = ["a dog " * 3, "a dog " * 50, "a dog"]
    tokens = tokenizer.tokenize(texts)
    assert tokens.shape == (3, 8)
    assert list(tokens[1, [0, -1]]) == [START, END]
    np.testing.assert_array_equal(tokens[0], tokens[1])  # six codes fit exactly
    assert tokenizer.count_truncated([tokenizer.codes(text) for text in texts]) == 1


def test_a_text_without_words_is_start_and_end_token_and_has_no_codes():
    tokenizer = Tokenizer(max_words=5)
    assert tokenizer.codes(" \t\n") == []
    np.testing.assert_array_equal(tokenizer.tokenize([""]), [[START, END, 0, 0, 0]])


def test_no_texts_give_no_rows():
    assert Tokenizer(max_words=5).tokenize([]).shape == (0, 5)


def test_a_row_too_short_for_a_word_is_refused():
    with pytest.raises(UserError, match="max_words is 2"):
        Tokenizer(max_words=2)
