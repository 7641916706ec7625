"""Loss that trains an energy-based model: low energy for true pairs, high for others (docs/systems.md section 2.6)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def regularised_difference(
    positive: Float[Array, "*p"], negative: Float[Array, "*q"], counted: Bool[Array, "*q"], weight: float = 1.0
) -> Float[Array, ""]:
    """mean p − mean q + c (mean p² + mean q²). weight: c.

    The means of q are over `counted` entries, 0 where there is none.
    """
    total = jnp.maximum(jnp.sum(counted), 1)
    negative = jnp.where(counted, negative, 0)
    penalty = jnp.mean(positive**2) + jnp.sum(negative**2) / total
    return jnp.mean(positive) - jnp.sum(negative) / total + weight * penalty
