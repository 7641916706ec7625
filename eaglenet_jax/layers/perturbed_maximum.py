"""Top-k selection that has a gradient: the mean of hard selections under Gaussian noise (docs/systems.md section 6.2).

Berthet et al., Learning with Differentiable Perturbed Optimizers, NeurIPS 2020; of the k positions each is an indicator
of its own, in the order of the index, as in TS2-Net.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# "full": the estimator of the whole Jacobian of the smoothed selection. "diagonal": only ∂Y_{k,i}/∂c_i, as the released
# TS2-Net has it.
GRADIENTS = ("full", "diagonal")


def top_indicators(scores: Float[Array, "*batch n"], count: int) -> Float[Array, "*batch k n"]:
    """Select the `count` largest scores: the limit of `perturbed_top_indicators` for σ → 0.

    Args:
        scores: c. Of equal scores the first counts.
        count: k, at most n.

    Returns:
        Y, 1 at [k, i] if the k-th selected position, in the order of the index, is i, else 0. No gradient passes.
    """
    return jax.nn.one_hot(_positions(scores, count), scores.shape[-1], dtype=scores.dtype)


def perturbed_top_indicators(
    scores: Float[Array, "*batch n"], noise: Float[Array, "*batch r n"], count: int, sigma: float, gradient: str
) -> Float[Array, "*batch k n"]:
    """Average the selections of the `count` largest of scores + σ · noise over the draws.

    Args:
        scores: c.
        noise: z, r draws of standard normal numbers, each a row of n. It gets no gradient.
        count: k, at most n.
        sigma: σ, above 0.
        gradient: One of `GRADIENTS`: what is passed back to the scores.

    Returns:
        Y, at [k, i] the share of draws whose k-th selected position, in the order of the index, is i.

    Raises:
        ValueError: The gradient is none of `GRADIENTS`.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient {gradient!r} is none of {', '.join(GRADIENTS)}")
    return _averaged(count, sigma, gradient, scores, noise)


def _positions(scores: Array, count: int) -> Array:
    """Return the positions of the largest scores, ascending: [..., k]."""
    _, positions = jax.lax.top_k(jax.lax.stop_gradient(scores), count)
    return jnp.sort(positions, axis=-1)


def _draws(count: int, sigma: float, scores: Array, noise: Array) -> tuple[Array, Array]:
    """Return the selected positions of every draw [..., r, k], and their indicators [..., r, k, n]."""
    positions = _positions(scores[..., None, :] + sigma * noise, count)
    return positions, jax.nn.one_hot(positions, scores.shape[-1], dtype=scores.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _averaged(count: int, sigma: float, gradient: str, scores: Array, noise: Array) -> Array:
    return jnp.mean(_draws(count, sigma, scores, noise)[1], axis=-3)


def _forward(count: int, sigma: float, gradient: str, scores: Array, noise: Array) -> tuple[Array, tuple[Array, ...]]:
    positions, chosen = _draws(count, sigma, scores, noise)
    if gradient == "full":
        return jnp.mean(chosen, axis=-3), (positions, noise)
    # The diagonal of the Jacobian is as small as Y itself, so it is made here and the noise need not be kept.
    return jnp.mean(chosen, axis=-3), (jnp.mean(chosen * noise[..., None, :], axis=-3) / sigma,)


def _backward(
    count: int, sigma: float, gradient: str, kept: tuple[Array, ...], slope: Array
) -> tuple[Array, Any]:  # no gradient for the noise
    if gradient == "diagonal":
        return jnp.sum(slope * kept[0], axis=-2), None
    positions, noise = kept
    # Σ_k slope[k, k-th position of the draw], a number for each draw.
    met = jnp.take_along_axis(slope[..., None, :, :], positions[..., None], axis=-1)[..., 0]
    return jnp.mean(jnp.sum(met, axis=-1, keepdims=True) * noise, axis=-2) / sigma, None


_averaged.defvjp(_forward, _backward)
