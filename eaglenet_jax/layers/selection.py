"""The best few of a list as fixed-size arrays: positions, and weights that average over them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def top_positions(
    values: Float[Array, "*batch n"], count: int, mask: Array
) -> tuple[Int[Array, "*batch k"], Bool[Array, "*batch k"]]:
    """Positions of the `count` highest values where `mask` (broadcast against values) is True, best first.

    Returns the positions, k = min(count, n), and which of them are real: False where fewer than k entries are True in
    the mask. Of equal values the first counts. Nothing is differentiated.
    """
    mask = jnp.broadcast_to(mask, values.shape)
    allowed = jnp.where(mask, jax.lax.stop_gradient(values), -jnp.inf)
    _, positions = jax.lax.top_k(allowed, min(count, values.shape[-1]))
    return positions, jnp.take_along_axis(mask, positions, axis=-1)


def mean_weights(
    positions: Int[Array, "*batch k"], real: Bool[Array, "*batch k"], length: int, dtype: jnp.dtype
) -> Float[Array, "*batch k length"]:
    """Weights whose sum over k averages over the real positions: 1 / their number there, 0 elsewhere."""
    share = real.astype(dtype) / jnp.maximum(jnp.sum(real, axis=-1, keepdims=True), 1).astype(dtype)
    return jax.nn.one_hot(positions, length, dtype=dtype) * share[..., None]
