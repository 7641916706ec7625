"""Losses of a batch of matching pairs, where text i belongs to video i (docs/systems.md section 2.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.similarity import at_least_float32


def repeated_video(video_id: Array) -> Bool[Array, "B B"]:
    """Mark the pairs [i, j], i ≠ j, of the same video, which are not negatives.

    Args:
        video_id: [B] uint32.
    """
    return (video_id[:, None] == video_id[None, :]) & ~jnp.eye(video_id.shape[0], dtype=bool)


def sigmoid_loss(
    similarity: Float[Array, "B B"], log_scale: Float[Array, ""], bias: Float[Array, ""], ignored: Bool[Array, "B B"]
) -> Float[Array, ""]:
    """Compute −(1/B) Σ_ij log σ(y_ij (exp(log_scale) s_ij + bias)), y = +1 on the diagonal and −1 off it.

    Args:
        similarity: s, cosines.
        log_scale: Logarithm of the logit scale.
        bias: Added to the logits.
        ignored: Pairs to leave out of the sum.
    """
    logits = jnp.exp(log_scale) * at_least_float32(similarity) + bias
    count = similarity.shape[0]
    signs = 2 * jnp.eye(count, dtype=logits.dtype) - 1
    return -jnp.sum(jnp.where(ignored, 0, jax.nn.log_sigmoid(signs * logits))) / count


def softmax_loss(logits: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
    """Compute ½ (cross-entropy over rows + over columns) of scaled similarities.

    Args:
        logits: Scaled similarities.
        ignored: Pairs to leave out of the sums.
    """
    logits = jnp.where(ignored, jnp.finfo(logits.dtype).min, at_least_float32(logits))
    matching = jnp.diagonal(logits)
    rows = jax.nn.logsumexp(logits, axis=1) - matching
    columns = jax.nn.logsumexp(logits, axis=0) - matching
    return (jnp.mean(rows) + jnp.mean(columns)) / 2


class SigmoidLoss(nn.Module):
    """Sigmoid loss with a learnable logit scale exp(log_scale), initially 118, and bias, initially −12.93.

    Attributes:
        initial_log_scale: Initial logarithm of the logit scale.
        initial_bias: Initial bias.
    """

    initial_log_scale: float = 4.77
    initial_bias: float = -12.93

    @nn.compact
    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """Compute the loss of cosines."""
        log_scale = self.param("log_scale", nn.initializers.constant(self.initial_log_scale), ())
        bias = self.param("bias", nn.initializers.constant(self.initial_bias), ())
        return sigmoid_loss(similarity, log_scale, bias, ignored)


class SoftmaxLoss(nn.Module):
    """Symmetric softmax loss with CLIP's learnable logit scale, stored as its logarithm.

    Attributes:
        initial_logit_scale: Initial logit scale (not its logarithm).
    """

    initial_logit_scale: float = 1 / 0.07

    @nn.compact
    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """Compute the loss of cosines."""
        log_scale = self.param("logit_scale", lambda _: jnp.log(jnp.asarray(self.initial_logit_scale, jnp.float32)))
        return softmax_loss(jnp.exp(log_scale) * at_least_float32(similarity), ignored)


class FixedSoftmaxLoss(nn.Module):
    """Symmetric softmax loss with a logit scale that is not learned.

    Attributes:
        scale: The logit scale (not its logarithm).
    """

    scale: float = 100.0

    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """Compute the loss of cosines."""
        return softmax_loss(self.scale * at_least_float32(similarity), ignored)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Initial values of the losses of `LOSSES`; each reads its own.

    Attributes:
        logit_scale: Initial logit scale of "softmax".
        log_scale: Initial logarithm of the logit scale of "sigmoid".
        bias: Initial bias of "sigmoid".
        fixed: Logit scale of "fixed_softmax".
    """

    logit_scale: float = 1 / 0.07
    log_scale: float = 4.77
    bias: float = -12.93
    fixed: float = 100.0


# A new loss for all heads is a class and a line here.
LOSSES: dict[str, Callable[[LossSettings], nn.Module]] = {
    "softmax": lambda settings: SoftmaxLoss(settings.logit_scale),
    "sigmoid": lambda settings: SigmoidLoss(settings.log_scale, settings.bias),
    "fixed_softmax": lambda settings: FixedSoftmaxLoss(settings.fixed),
}


def make_matching_loss(kind: str, settings: LossSettings) -> nn.Module:
    """Build the loss of a similarity matrix by its name.

    Args:
        kind: One of `LOSSES`.
        settings: What it starts from.

    Returns:
        A module: loss(similarity [B, B], ignored [B, B]) → [].

    Raises:
        ValueError: The name is none of `LOSSES`.
    """
    if kind not in LOSSES:
        raise ValueError(f"loss_kind {kind!r} is none of {', '.join(LOSSES)}")
    return LOSSES[kind](settings)
