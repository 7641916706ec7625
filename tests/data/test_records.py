from __future__ import annotations

import hashlib

import numpy as np
import pytest

from eaglenet_jax.data.records import example_id, example_ids, token_id
from eaglenet_jax.errors import UserError


def test_example_id_is_the_first_four_digest_bytes_little_endian():
    digest = hashlib.blake2b("vidéo7".encode()).digest()
    assert example_id("vidéo7") == np.frombuffer(digest[:4], "<u4")[0]
    assert example_id("vidéo7").dtype == np.uint32


def test_example_ids_keep_the_order():
    ids = example_ids(["b", "a", "c"])
    assert ids.dtype == np.uint32
    assert list(ids) == [example_id("b"), example_id("a"), example_id("c")]
    assert example_ids([]).shape == (0,)


def test_an_id_given_twice_is_named():
    with pytest.raises(UserError, match=r"1 ids occur more than once \('a'\)"):
        example_ids(["a", "b", "a"])


def test_token_id_depends_on_the_words_and_not_on_the_padding():
    short = np.array([49406, 320, 1929, 49407, 0])
    assert token_id(short) == token_id(np.concatenate([short, np.zeros(7, int)]).astype(np.int32))
    assert token_id(short) != token_id(np.array([49406, 1929, 320, 49407, 0]))


def test_token_id_refuses_a_batch():
    with pytest.raises(ValueError, match="one query"):
        token_id(np.zeros((2, 5), np.int32))
