"""Moving average of the parameters, stored with the optimiser's state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from eaglenet_jax.training.optimizer import clamp_logit_scale, parameter_name


class AverageState(NamedTuple):
    """State of `with_average`.

    Attributes:
        inner: State of the optimiser.
        updates_made: Number of updates.
        average: The averaged parameters.
    """

    inner: Any
    updates_made: Array
    average: PyTree


def with_average(
    optimizer: optax.GradientTransformation, decay: float, frozen: Collection[str] = ()
) -> optax.GradientTransformation:
    """Wrap an optimiser to also keep the moving average a ← d a + (1 − d) θ of the parameters θ after each update.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that the initial parameters are forgotten in short runs too.

    Args:
        optimizer: Any optax transformation.
        decay: Largest d.
        frozen: Names of parameters that are never updated; their average is they themselves, without rounding.
    """

    def init(params: PyTree) -> AverageState:
        # A copy: the state must not share memory with parameters that are donated along with it.
        return AverageState(optimizer.init(params), jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params))

    def update(gradients: PyTree, state: AverageState, params: PyTree) -> tuple[PyTree, AverageState]:
        updates, inner = optimizer.update(gradients, state.inner, params)
        current_decay = jnp.minimum(decay, (1 + state.updates_made) / (10 + state.updates_made))
        updated = clamp_logit_scale(optax.apply_updates(params, updates))
        average = optax.incremental_update(updated, state.average, 1 - current_decay)
        average = jax.tree_util.tree_map_with_path(
            lambda path, new, old: old if parameter_name(path) in frozen else new, average, state.average
        )
        return updates, AverageState(inner, state.updates_made + 1, average)

    return optax.GradientTransformation(init, update)


def averaged_params(opt_state: AverageState) -> PyTree:
    """Return the averaged parameters, for evaluation."""
    return opt_state.average
