"""Top-k selection as fixed-size arrays: positions, and weights that average over them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def top_positions(
    values: Float[Array, "*batch n"], count: int, mask: Array
) -> tuple[Int[Array, "*batch k"], Bool[Array, "*batch k"]]:
    """Return the positions of the `count` highest values where `mask` is True, best first.

    Of equal values the first counts. No gradient passes through.

    Args:
        values: Values to select from.
        count: Number of positions wanted.
        mask: Broadcast against `values`.

    Returns:
        The positions, k = min(count, n), and which of them are real: False where fewer than k entries of the mask are
        True.
    """
    mask = jnp.broadcast_to(mask, values.shape)
    allowed = jnp.where(mask, jax.lax.stop_gradient(values), -jnp.inf)
    _, positions = jax.lax.top_k(allowed, min(count, values.shape[-1]))
    return positions, jnp.take_along_axis(mask, positions, axis=-1)


def mean_weights(
    positions: Int[Array, "*batch k"], real: Bool[Array, "*batch k"], length: int, dtype: jnp.dtype
) -> Float[Array, "*batch k length"]:
    """Return weights whose sum over k averages over the real positions: 1 / their number there, 0 elsewhere.

    Args:
        positions: From `top_positions`.
        real: From `top_positions`.
        length: Number of values that the positions point into.
        dtype: Type of the weights.
    """
    share = real.astype(dtype) / jnp.maximum(jnp.sum(real, axis=-1, keepdims=True), 1).astype(dtype)
    return jax.nn.one_hot(positions, length, dtype=dtype) * share[..., None]
