from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.ema import averaged_params, with_average
from eaglenet_jax.training.optimizer import clamp_logit_scale
from eaglenet_jax.training.state import TrainState


def test_average_follows_the_parameters_and_leaves_the_updates_alone(tmp_path: Path) -> None:
    params = {"clip": {"logit_scale": jnp.asarray(4.6)}, "head": {"w": jnp.zeros(3)}}
    plain, averaging = optax.sgd(1.0), with_average(optax.sgd(1.0), decay=0.8)
    state, plain_state = averaging.init(params), plain.init(params)
    expected = jax.tree.map(np.asarray, params)
    for step in range(20):
        gradients = jax.tree.map(lambda leaf, step=step: jnp.full(leaf.shape, -0.1 * step), params)
        updates, state = averaging.update(gradients, state, params)
        plain_updates, plain_state = plain.update(gradients, plain_state, params)
        jax.tree.map(np.testing.assert_array_equal, updates, plain_updates)
        params = clamp_logit_scale(optax.apply_updates(params, updates))
        decay = min(0.8, (1 + step) / (10 + step))
        expected = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), expected, params)
    average = averaged_params(state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, expected)
    assert float(average["clip"]["logit_scale"]) <= np.log(100) + 1e-6

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(20, TrainState(jnp.asarray(20), params, state, ()), {})
    jax.tree.map(np.testing.assert_array_equal, Checkpoints(tmp_path).restore_params("last", averaged=True), average)


def test_average_starts_as_a_copy_that_survives_donation() -> None:
    params = {"w": jnp.ones(3)}
    state = with_average(optax.sgd(1.0), 0.9).init(params)
    assert state.average["w"].unsafe_buffer_pointer() != params["w"].unsafe_buffer_pointer()


def test_the_average_of_a_frozen_parameter_is_the_parameter() -> None:
    """Bit for bit: what was computed from it once stays true."""
    params = {"clip": {"w": jnp.asarray([0.1, 0.7, 1e-8])}, "head": {"w": jnp.ones(3)}}
    averaging = with_average(optax.sgd(1.0), 0.8, frozen=["clip/w"])
    state = averaging.init(params)
    for _ in range(5):
        gradients = {"clip": {"w": jnp.zeros(3)}, "head": {"w": jnp.ones(3)}}
        updates, state = averaging.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(averaged_params(state)["clip"]["w"], params["clip"]["w"])
    assert np.abs(averaged_params(state)["head"]["w"] - params["head"]["w"]).min() > 0.1
