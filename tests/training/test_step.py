"""The training step's ways of splitting a batch, against gradients taken by hand."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.training.optimizer import clamp_logit_scale
from eaglenet_jax.training.step import initial_state, make_train_step
from tests.training import tiny

SYSTEM = tiny.system("clip4clip")


def _updated(params, batch, **options):
    """Parameters after one step of plain gradient descent with rate 0.1."""
    optimizer = optax.sgd(0.1)
    step = make_train_step(SYSTEM, optimizer, donate=False, **options)
    return step(initial_state(SYSTEM, optimizer, params), batch, jax.random.key(0))[0].params


@jax.jit
def _by_hand(params, batch):
    draws = Draws(jax.random.key(1), train=True)
    return jax.grad(lambda params: SYSTEM.loss(params, batch, (), draws)[0])(params)


def _largest_difference(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.mark.long
def test_accumulation_has_its_own_negatives_and_encoding_in_parts_those_of_the_whole_batch():
    params, batch = tiny.initial_params("clip4clip"), tiny.batch(8)
    parts = [_by_hand(params, {name: leaf[start::2] for name, leaf in batch.items()}) for start in (0, 1)]
    averaged = jax.tree.map(lambda *leaves: sum(leaves) / 2, *parts)
    whole = _by_hand(params, batch)

    def descended(gradients):
        return clamp_logit_scale(jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, params, gradients))

    assert _largest_difference(_updated(params, batch, accumulate=2), descended(averaged)) < 1e-6
    assert _largest_difference(_updated(params, batch, encode_micro_batches=2), descended(whole)) < 1e-6
    assert _largest_difference(_updated(params, batch), descended(whole)) < 1e-6
    assert _largest_difference(descended(averaged), descended(whole)) > 1e-4


def test_both_ways_at_once_are_refused():
    with pytest.raises(ValueError, match="exclude each other"):
        make_train_step(SYSTEM, optax.sgd(1.0), accumulate=2, encode_micro_batches=2)
