"""Unit vectors and cosines whose values and gradients stay finite for zero, huge and equal inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def at_least_float32(x: Array) -> Array:
    """Convert to promote_types(x.dtype, float32), the type of softmax, norms, energies, similarities and losses."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Normalise to x / |x| along the last axis, at least float32. A zero vector gives zero, with zero gradient."""
    x = at_least_float32(x)
    # Dividing by the largest entry first keeps squares in range. The unit vector does not depend on that scale, so the
    # gradient is exact with the scale held constant.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    is_zero = largest == 0
    x = x / jnp.where(is_zero, 1, largest)
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(is_zero, 0, x * jax.lax.rsqrt(jnp.where(is_zero, 1, squared)))


def cosine(x: Float[Array, "*#batch d"], y: Float[Array, "*#batch d"]) -> Float[Array, "*batch"]:
    """Compute cos(x, y) along the last axis, leading axes broadcast; 0 where either is a zero vector."""
    return jnp.sum(unit(x) * unit(y), axis=-1)


def masked_mean(x: Float[Array, "*batch n"], mask: Array) -> Float[Array, "*batch"]:
    """Average the last axis over entries where `mask` (broadcast against x) is True; 0 where there is none."""
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.sum(jnp.where(mask, x, 0), axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)


def masked_softmax(logits: Float[Array, "*batch n"], mask: Array) -> Float[Array, "*batch n"]:
    """Apply softmax to the last axis over entries where `mask` is True; all zero where there is none.

    At least float32.
    """
    logits = at_least_float32(logits)
    mask = jnp.broadcast_to(mask, logits.shape)
    lowest = jnp.finfo(logits.dtype).min
    weights = jax.nn.softmax(jnp.where(mask, logits, lowest), axis=-1)
    return jnp.where(mask, weights, 0)
