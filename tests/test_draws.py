"""Draws by name and id, against one key of jax at a time."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.draws import Draws

TEXTS, VIDEOS, SHAPE = np.array([7, 4_000_000_000], np.uint32), np.array([1, 2, 3], np.uint32), (2, 5)
KEY = jax.random.key(5)


def _one_by_one(sample, name: str) -> np.ndarray:
    """The draws of every pair: the name, the text's id and the video's folded into the key, in this order."""
    named = jax.random.fold_in(KEY, zlib.crc32(name.encode()))
    keys = [[jax.random.fold_in(jax.random.fold_in(named, text), video) for video in VIDEOS] for text in TEXTS]
    return np.stack([np.stack([sample(key) for key in row]) for row in keys])


def test_numbers_are_those_of_a_key_by_name_text_and_video():
    draws = Draws(KEY, train=True)
    ids = draws.pair_ids(TEXTS, VIDEOS)
    uniform, normal = jax.jit(lambda: (draws.uniform("one", ids, SHAPE), draws.normal("two", ids, SHAPE)))()
    np.testing.assert_array_equal(uniform, _one_by_one(lambda key: jax.random.uniform(key, SHAPE), "one"))
    np.testing.assert_allclose(normal, _one_by_one(lambda key: jax.random.normal(key, SHAPE), "two"), rtol=1e-5)
    bits = _one_by_one(lambda key: jax.random.bits(key, SHAPE, jnp.uint16), "three")
    dropped = jax.jit(lambda: draws.dropout("three", ids, jnp.ones((2, 3, *SHAPE)), 0.25))()
    np.testing.assert_array_equal(dropped == 0, bits < 2**14)


def test_noise_of_an_evaluation_belongs_to_the_text_and_to_no_shape_of_the_gallery():
    draws = Draws(KEY)
    drawn = draws.uniform("one", draws.pair_ids(TEXTS, VIDEOS), SHAPE)
    assert drawn.shape == (2, 1, *SHAPE)
    alone = draws.uniform("one", draws.pair_ids(TEXTS[1:], VIDEOS[:1]), SHAPE)
    np.testing.assert_array_equal(drawn[1:], alone)
    assert draws.uniform("one", (), ()).shape == ()
