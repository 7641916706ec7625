"""A system: random parameters, masks of words."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax import system as module
from eaglenet_jax.data.tokenizer import Tokenizer
from tests.training import tiny


def test_the_encoders_start_alike_under_every_head_and_are_compiled_once():
    systems = [tiny.system(head) for head in ("clip4clip", "eaglenet")]
    one, other = (system.init(jax.random.key(4)) for system in systems)
    jax.tree.map(np.testing.assert_array_equal, one["clip"], other["clip"])
    compiled = module._init_clip._cache_size()
    again = systems[1].init(jax.random.key(5))
    assert module._init_clip._cache_size() == compiled
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), other["clip"], again["clip"])
    assert moved["text"]["token_embedding"] > 0 and set(one["head"]) != set(other["head"])


def test_an_exclamation_mark_whose_code_is_zero_is_a_word():
    tokens = Tokenizer(max_words=6).tokenize(["!=", "a dog"])
    assert tokens[0, 1] == 0
    clip: Any = SimpleNamespace(apply=lambda *_, **__: (jnp.zeros((2, 4)), jnp.zeros((2, 6, 4))))
    system = dataclasses.replace(tiny.system("clip4clip"), clip=clip)
    mask = system.encode_text({"clip": {}}, jnp.arange(2, dtype=jnp.uint32), jnp.asarray(tokens)).mask
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]])
