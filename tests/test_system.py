"""Random parameters of a system."""

from __future__ import annotations

import jax
import numpy as np

from eaglenet_jax import system as module
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
