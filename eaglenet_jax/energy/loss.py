"""Loss of an energy-based model: low energy for true pairs, high for others (docs/systems.md section 2.6)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def regularised_difference(
    positive: Float[Array, "*p"], negative: Float[Array, "*q"], counted: Bool[Array, "*q"], weight: float = 1.0
) -> Float[Array, ""]:
    """Compute mean p − mean q + c (mean p² + mean q²).

    Args:
        positive: p, energies of true pairs.
        negative: q, energies of other pairs.
        counted: Entries of `negative` that the means of q are over; a mean over none is 0.
        weight: c.
    """
    total = jnp.maximum(jnp.sum(counted), 1)
    negative = jnp.where(counted, negative, 0)
    penalty = jnp.mean(positive**2) + jnp.sum(negative**2) / total
    return jnp.mean(positive) - jnp.sum(negative) / total + weight * penalty
