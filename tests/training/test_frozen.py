"""Frozen parameters as constants of the loss."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from eaglenet_jax.training.frozen import WithFrozen
from eaglenet_jax.training.optimizer import parameter_name
from eaglenet_jax.training.step import initial_state, make_train_step
from tests.training import tiny


def test_a_step_computes_no_gradient_of_frozen_parameters_and_updates_the_others_alike():
    system, params, batch = tiny.system("clip4clip"), tiny.initial_params("clip4clip"), tiny.batch(4)
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    frozen = {name for name in names if name.startswith("clip/")}
    labels = jax.tree_util.tree_map_with_path(lambda path, _: parameter_name(path) in frozen, params)
    # Plain descent: Adam would blow up the rounding of gradients that are zero.
    optimizer = optax.partition({False: optax.sgd(0.1), True: optax.set_to_zero()}, labels)
    given = initial_state(system, optimizer, params), batch, jax.random.key(0)
    steps = [
        make_train_step(each, optimizer, donate=False).lower(*given).compile()
        for each in (system, WithFrozen(system, frozen))
    ]
    whole, partial = (step.cost_analysis()["flops"] for step in steps)
    assert partial < 0.5 * whole  # a backward pass is two thirds of a step
    (expected, expected_metrics), (found, metrics) = (step(*given) for step in steps)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert metrics["loss"] == pytest.approx(float(expected_metrics["loss"]), rel=1e-6)
    assert 0 < metrics["gradient_norm"] < expected_metrics["gradient_norm"]
    jax.tree.map(np.testing.assert_array_equal, found.params["clip"], params["clip"])
    moved = jax.tree.map(lambda one, other: bool(np.any(one != other)), found.params["head"], params["head"])
    assert all(jax.tree.leaves(moved))
