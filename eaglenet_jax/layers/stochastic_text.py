"""Stochastic text of T-MASS: a text becomes a cloud whose radius depends on the video (docs/systems.md section 2.1)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.similarity import at_least_float32, unit


def frame_similarities(
    text: Float[Array, "Bt d"], frames: Float[Array, "Bv M d"], mask: Bool[Array, "Bv M"]
) -> Float[Array, "Bt Bv M"]:
    """s = cos(t, f_j) for every text, video and frame; 0 at padding frames."""
    return jnp.where(mask, jnp.einsum("td,vmd->tvm", unit(text), unit(frames)), 0)


def _eye(key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Array:
    del key
    return jnp.eye(*shape, dtype=dtype)


class Radius(nn.Module):
    """R = exp(W s + b), the radius of the cloud per feature.

    width: d. bias: with b, and W starting as the identity (released); without, it is the paper's exp(sᵀW),
    W starting at random.
    """

    width: int
    bias: bool = True

    @nn.compact
    def __call__(self, similarities: Float[Array, "*pairs M"]) -> Float[Array, "*pairs d"]:
        """similarities: cosines of a text with the frames of a video, [..., M] → [..., d], at least float32."""
        start = _eye if self.bias else nn.initializers.lecun_normal()
        linear = nn.Dense(self.width, use_bias=self.bias, kernel_init=start, name="linear")
        return jnp.exp(linear(at_least_float32(similarities)))


def toward(
    text: Float[Array, "*#pairs d"], target: Float[Array, "*#pairs d"], radius: Float[Array, "*pairs d"]
) -> Float[Array, "*pairs d"]:
    """Support text t + R ∘ (p − t)/|p − t|: the text moved toward the target p as far as its cloud reaches.

    docs/systems.md section 2.4.
    """
    return at_least_float32(text) + radius * unit(target - text)


def candidates(
    text: Float[Array, "*#pairs d"], radius: Float[Array, "*pairs d"], noise: Float[Array, "*#pairs S d"]
) -> Float[Array, "*pairs S d"]:
    """Text candidates t + R ∘ ε_i, i = 1..S."""
    return jax.lax.expand_dims(at_least_float32(text), [text.ndim - 1]) + jnp.expand_dims(radius, -2) * noise
