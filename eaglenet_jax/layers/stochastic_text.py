"""Stochastic text of T-MASS: a text as a cloud whose radius depends on the video (docs/systems.md section 2.1)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.frame_pooling import identity_kernel
from eaglenet_jax.layers.similarity import at_least_float32, masked_mean, unit


def frame_similarities(
    text: Float[Array, "Bt d"], frames: Float[Array, "Bv M d"], mask: Bool[Array, "Bv M"]
) -> Float[Array, "Bt Bv M"]:
    """Compute s = cos(t, f_j) for every text, video and frame; 0 at padding frames."""
    return jnp.where(mask, jnp.einsum("td,vmd->tvm", unit(text), unit(frames)), 0)


RADIUS_KINDS = ("mean", "scalar", "linear")


class Radius(nn.Module):
    """The radius R of the cloud per feature, from the cosines s of a text with the frames of a video.

    Attributes:
        width: d.
        bias: With "linear": add b, and start W as the identity (released). Without it, the paper's exp(sᵀW) with
            random W.
        kind: "linear" exp(W s + b); "scalar" exp(θ · mean s), with θ = 0 at the start; "mean" exp(mean s), where
            nothing is learned.
    """

    width: int
    bias: bool = True
    kind: str = "linear"

    @nn.compact
    def __call__(
        self, similarities: Float[Array, "*pairs M"], mask: Bool[Array, "*#pairs M"] | None = None
    ) -> Float[Array, "*pairs d"]:
        """Compute the radius, at least float32.

        Args:
            similarities: s, 0 at padding frames.
            mask: True at the frames that the mean of s is over, by default all; "linear" reads none.

        Raises:
            ValueError: The kind is unknown.
        """
        if self.kind not in RADIUS_KINDS:
            raise ValueError(f"radius kind {self.kind!r} is none of {', '.join(RADIUS_KINDS)}")
        similarities = at_least_float32(similarities)
        if self.kind == "linear":
            start = identity_kernel if self.bias else nn.initializers.lecun_normal()
            return jnp.exp(nn.Dense(self.width, use_bias=self.bias, kernel_init=start, name="linear")(similarities))
        mask = jnp.ones_like(similarities, bool) if mask is None else mask
        logarithm = masked_mean(similarities, mask)[..., None]
        if self.kind == "scalar":
            logarithm = self.param("scalar", nn.initializers.zeros, ()) * logarithm
        return jnp.broadcast_to(jnp.exp(logarithm), (*logarithm.shape[:-1], self.width))


def toward(
    text: Float[Array, "*#pairs d"], target: Float[Array, "*#pairs d"], radius: Float[Array, "*pairs d"]
) -> Float[Array, "*pairs d"]:
    """Compute the support text t + R ∘ (p − t)/|p − t|: the text moved toward the target p by the radius of its cloud.

    docs/systems.md section 2.4.
    """
    return at_least_float32(text) + radius * unit(target - text)


def candidates(
    text: Float[Array, "*#pairs d"], radius: Float[Array, "*pairs d"], noise: Float[Array, "*#pairs S d"]
) -> Float[Array, "*pairs S d"]:
    """Compute the text candidates t + R ∘ ε_i, i = 1..S."""
    return jax.lax.expand_dims(at_least_float32(text), [text.ndim - 1]) + jnp.expand_dims(radius, -2) * noise


def weighted_noise(weights: Float[Array, "Bt Bv S"], noise: Float[Array, " Bt #Bv S d"]) -> Float[Array, "Bt Bv d"]:
    """Compute Σ_i w_i ε_i of every pair, from noise of the pairs or of the texts."""
    if noise.shape[1] == 1:
        return jnp.einsum("tvs,tsd->tvd", weights, noise[:, 0])
    return jnp.einsum("tvs,tvsd->tvd", weights, noise)
