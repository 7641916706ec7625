"""Losses of a batch of matching pairs: text i belongs to video i (docs/systems.md section 2.5)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.similarity import at_least_float32


def repeated_video(video_id: Array) -> Bool[Array, "B B"]:
    """True at [i, j] where i ≠ j name the same video: such a pair is no negative. video_id: [B] uint32."""
    return (video_id[:, None] == video_id[None, :]) & ~jnp.eye(video_id.shape[0], dtype=bool)


def sigmoid_loss(
    similarity: Float[Array, "B B"], log_scale: Float[Array, ""], bias: Float[Array, ""], ignored: Bool[Array, "B B"]
) -> Float[Array, ""]:
    """−(1/B) Σ_ij log σ(y_ij (exp(log_scale) s_ij + bias)), y = +1 on the diagonal and −1 off it.

    Pairs that are `ignored` are left out of the sum.
    """
    logits = jnp.exp(log_scale) * at_least_float32(similarity) + bias
    count = similarity.shape[0]
    signs = 2 * jnp.eye(count, dtype=logits.dtype) - 1
    return -jnp.sum(jnp.where(ignored, 0, jax.nn.log_sigmoid(signs * logits))) / count


def softmax_loss(logits: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
    """½ (cross-entropy over rows + over columns) of scaled similarities, `ignored` pairs left out of the sums."""
    logits = jnp.where(ignored, jnp.finfo(logits.dtype).min, at_least_float32(logits))
    matching = jnp.diagonal(logits)
    rows = jax.nn.logsumexp(logits, axis=1) - matching
    columns = jax.nn.logsumexp(logits, axis=0) - matching
    return (jnp.mean(rows) + jnp.mean(columns)) / 2


class SigmoidLoss(nn.Module):
    """The sigmoid loss with its learnable temperature exp(log_scale) and bias, at 118 and −12.93 at the start."""

    initial_log_scale: float = 4.77
    initial_bias: float = -12.93

    @nn.compact
    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """similarity: cosines. Returns the loss."""
        log_scale = self.param("log_scale", nn.initializers.constant(self.initial_log_scale), ())
        bias = self.param("bias", nn.initializers.constant(self.initial_bias), ())
        return sigmoid_loss(similarity, log_scale, bias, ignored)


class SoftmaxLoss(nn.Module):
    """The symmetric softmax loss with CLIP's learnable logit scale, kept as its logarithm."""

    initial_logit_scale: float = 1 / 0.07

    @nn.compact
    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """similarity: cosines. Returns the loss."""
        log_scale = self.param("logit_scale", lambda _: jnp.log(jnp.asarray(self.initial_logit_scale, jnp.float32)))
        return softmax_loss(jnp.exp(log_scale) * at_least_float32(similarity), ignored)


class FixedSoftmaxLoss(nn.Module):
    """The symmetric softmax loss with a logit scale that is not learned."""

    scale: float = 100.0

    def __call__(self, similarity: Float[Array, "B B"], ignored: Bool[Array, "B B"]) -> Float[Array, ""]:
        """similarity: cosines. Returns the loss."""
        return softmax_loss(self.scale * at_least_float32(similarity), ignored)


LOSSES = ("softmax", "sigmoid", "fixed_softmax")


def make_matching_loss(
    kind: str, *, logit_scale: float = 1 / 0.07, log_scale: float = 4.77, bias: float = -12.93, fixed: float = 100.0
) -> nn.Module:
    """The loss of a similarity matrix by its name, for every head. A new loss is a class and a line here.

    Args:
      kind: One of `LOSSES`.
      logit_scale: Of "softmax", at the start.
      log_scale: Of "sigmoid", the logarithm of its scale at the start.
      bias: Of "sigmoid", at the start.
      fixed: Of "fixed_softmax", its scale.

    Returns:
      A module: loss(similarity [B, B], ignored [B, B]) → [].

    Raises:
      ValueError: The name is none of `LOSSES`.
    """
    if kind == "softmax":
        return SoftmaxLoss(logit_scale)
    if kind == "sigmoid":
        return SigmoidLoss(log_scale, bias)
    if kind == "fixed_softmax":
        return FixedSoftmaxLoss(fixed)
    raise ValueError(f"loss_kind {kind!r} is none of {', '.join(LOSSES)}")
