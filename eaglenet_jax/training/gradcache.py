"""Gradient of a loss over a large batch with the encoders' memory of a small one.

GradCache (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"): encode in
micro-batches without keeping intermediates, compute the loss of all features once, then encode each micro-batch again
and pull the gradient of its features back. With features F and loss L, dL/dθ = ∂L/∂θ + Σ_k (∂F_k/∂θ)ᵀ ∂L/∂F_k, so it is
the gradient of the full batch, negatives included, and not the mean over small batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def value_and_cached_gradient(
    encode: Callable[[PyTree, PyTree], PyTree],
    loss: Callable[[PyTree, PyTree], tuple[Array, Any]],
    params: PyTree,
    batch: PyTree,
    micro_batches: int,
) -> tuple[tuple[Array, Any], PyTree]:
    """Compute value and gradient of loss(params, encode(params, batch)), encoding 1/micro_batches at a time.

    Micro-batch k takes every micro_batches-th example from k on, so a batch that is spread over devices stays in place.

    Args:
        encode: (params, batch) → features, every leaf of both with the example as leading axis, examples independent of
            each other; it is run twice and must give the same numbers.
        loss: (params, features) → (scalar, aux), run once.
        params: Parameters.
        batch: The whole batch.
        micro_batches: Number of micro-batches.

    Returns:
        ((loss, aux), gradient by params).

    Raises:
        ValueError: The batch does not divide.
    """
    split = jax.tree.map(lambda leaf: micro_batches_of(leaf, micro_batches), batch)
    features = jax.tree.map(_join, jax.lax.map(lambda micro: encode(params, micro), split))
    leaves, structure = jax.tree.flatten(features)
    numbers = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]  # ids and masks have no gradient

    def loss_of(params: PyTree, floats: list[Array]) -> tuple[Array, Any]:
        remaining = iter(floats)
        return loss(
            params, jax.tree.unflatten(structure, [next(remaining) if is_number else leaf for leaf, is_number in both])
        )

    both = list(zip(leaves, numbers, strict=True))
    floats = [leaf for leaf, is_number in both if is_number]
    result, (direct, by_features) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(params, floats)

    def replay(total: PyTree, micro: tuple[PyTree, list[Array]]) -> tuple[PyTree, None]:
        examples, cotangents = micro

        def encoded(params: PyTree) -> list[Array]:
            encoded_leaves = jax.tree.leaves(encode(params, examples))
            return [leaf for leaf, is_number in zip(encoded_leaves, numbers, strict=True) if is_number]

        (gradient,) = jax.vjp(encoded, params)[1](cotangents)
        return jax.tree.map(jnp.add, total, gradient), None

    micro_cotangents = [micro_batches_of(leaf, micro_batches) for leaf in by_features]
    gradient, _ = jax.lax.scan(replay, direct, (split, micro_cotangents))
    return result, gradient


def micro_batches_of(leaf: Array, parts: int) -> Array:
    """Reshape [B, …] to [parts, B / parts, …]: micro-batch k has the examples k, k + parts, k + 2 parts, …

    So a batch that is spread over devices stays in place.

    Raises:
        ValueError: The batch does not divide.
    """
    if leaf.shape[0] % parts:
        raise ValueError(f"a batch of {leaf.shape[0]} does not divide into {parts} micro-batches")
    return jnp.swapaxes(leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]), 0, 1)


def _join(leaf: Array) -> Array:
    return jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])
