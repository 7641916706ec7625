"""X-Pool's frame pooling: a text attends to the frames of a video and gets one vector (docs/systems.md section 2.3).

Everything that does not depend on the text is folded into the video once. With W_q, b_q the query projection, k_j, v_j
the keys and values of one attention head and W_o the output projection,

    q · k_j = ln1(text) · (W_q k_j) + b_q · k_j        and        W_o Σ_j a_j v_j = Σ_j a_j (W_o v_j),

so a pair costs two small sums over frames and the one d × d product of the final linear layer.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from eaglenet_jax.draws import Draws, Ids
from eaglenet_jax.layers.similarity import at_least_float32, masked_softmax


@struct.dataclass
class PooledFrames:
    """Keys and values of videos, folded: keys, values [Bv, M, heads, d], key_offsets [Bv, M, heads], mask [Bv, M]."""

    keys: Array
    key_offsets: Array
    values: Array
    mask: Array


def _identity(key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Array:
    del key
    return jnp.eye(*shape, dtype=dtype)


class Projection(nn.Module):
    """The kernel [d, d] (input, output) and bias [d] of a linear layer that starts as the identity, given as arrays."""

    width: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
        """Kernel and bias."""
        kernel = self.param("kernel", _identity, (self.width, self.width))
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,))


class FramePooling(nn.Module):
    """Frames of a video pooled for a text.

    width: d. heads: attention heads. dropout_rate: of the last linear layer, in training. input_norm: ln1 on text and
    frames (released); without it the paper's form. dtype: compute type.
    """

    width: int
    heads: int = 1
    dropout_rate: float = 0.3
    input_norm: bool = True
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Layers, under the names that the parameter tree shows."""
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"pooling_heads is {self.heads}; it must divide the width {self.width}")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"pooling_dropout is {self.dropout_rate}; give 0 or more, below 1")
        self.query = Projection(self.width)
        self.key = Projection(self.width)
        self.value = Projection(self.width)
        self.output = Projection(self.width)
        self.linear = nn.Dense(self.width, kernel_init=_identity, dtype=self.dtype)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(epsilon=1e-5) for _ in range(3))

    def _normalised(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        x = self.norm1(at_least_float32(x)) if self.input_norm else x
        return x if self.dtype is None else x.astype(self.dtype)

    def prepare(self, frames: Float[Array, "Bv M d"], mask: Bool[Array, "Bv M"]) -> PooledFrames:
        """The work that only needs the videos."""
        frames = self._normalised(frames)
        split = (*frames.shape[:-1], self.heads, self.width // self.heads)
        (query_kernel, query_bias), (output_kernel, _) = self.query(), self.output()
        keys = self._linear(self.key(), frames).reshape(split)
        values = self._linear(self.value(), frames).reshape(split)
        by_head = (self.heads, self.width // self.heads)
        return PooledFrames(
            keys=jnp.einsum("dhk,vmhk->vmhd", query_kernel.reshape(self.width, *by_head).astype(frames.dtype), keys),
            key_offsets=jnp.einsum("hk,vmhk->vmh", query_bias.reshape(by_head).astype(frames.dtype), keys),
            values=jnp.einsum(
                "hkd,vmhk->vmhd", output_kernel.reshape(*by_head, self.width).astype(frames.dtype), values
            ),
            mask=mask,
        )

    def _linear(self, projection: tuple[Array, Array], x: Array) -> Array:
        kernel, bias = projection
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)

    def attention(self, text: Float[Array, " Bt #Bv d"], video: PooledFrames) -> Float[Array, "Bt Bv heads M"]:
        """Weights of the frames for each pair and attention head, summing to 1 over valid frames."""
        text = self._normalised(text)
        if text.shape[1] == 1:  # one text for all videos: no pair axis until the product
            logits = jnp.einsum("td,vmhd->tvhm", text[:, 0], video.keys)
        else:
            logits = jnp.einsum("tvd,vmhd->tvhm", text, video.keys)
        logits = at_least_float32(logits) + jnp.swapaxes(video.key_offsets, 1, 2)
        return masked_softmax(logits / (self.width / self.heads) ** 0.5, video.mask[:, None, :])

    def __call__(
        self, text: Float[Array, " Bt #Bv d"], video: PooledFrames, draws: Draws, ids: Ids
    ) -> Float[Array, "Bt Bv d"]:
        """Pooled videos for every pair.

        text: [Bt, Bv, d], or [Bt, 1, d] when it is the same for all videos. ids: of the pairs.
        """
        weights = self.attention(text, video)
        pooled = jnp.einsum("tvhm,vmhd->tvd", weights.astype(video.values.dtype), video.values)
        pooled = self.norm2(at_least_float32(pooled) + self.output()[1])
        moved = draws.dropout("pooling_dropout", ids, self.linear(pooled), self.dropout_rate)
        return self.norm3(pooled + at_least_float32(moved))
