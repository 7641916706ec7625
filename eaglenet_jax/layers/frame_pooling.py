"""X-Pool's frame pooling: attention from a text to the frames of a video (docs/systems.md section 2.3).

Everything that does not depend on the text is folded into the video once. With W_q, b_q the query projection, k_j, v_j
the keys and values of one attention head and W_o the output projection,

    q · k_j = ln1(text) · (W_q k_j) + b_q · k_j        and        W_o Σ_j a_j v_j = Σ_j a_j (W_o v_j),

so a pair needs only two small sums over frames and the d × d product of the final linear layer.
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
    """Folded keys and values of videos.

    Attributes:
        keys: [Bv, M, heads, d].
        key_offsets: [Bv, M, heads], b_q · k.
        values: [Bv, M, heads, d].
        mask: [Bv, M], True at valid frames.
    """

    keys: Array
    key_offsets: Array
    values: Array
    mask: Array


def identity_kernel(key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Array:
    """Initialise a kernel as the identity."""
    del key
    return jnp.eye(*shape, dtype=dtype)


class Projection(nn.Module):
    """Kernel [d, d] (input, output) and bias [d] of a linear layer that starts as the identity, as arrays.

    Attributes:
        width: d.
        bias: Whether the bias is a parameter; else it is zero.
    """

    width: int
    bias: bool = True

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
        """Return kernel and bias."""
        kernel = self.param("kernel", identity_kernel, (self.width, self.width))
        zeros = nn.initializers.zeros
        return kernel, self.param("bias", zeros, (self.width,)) if self.bias else jnp.zeros(self.width)


class FramePooling(nn.Module):
    """Frames of a video pooled for a text.

    Attributes:
        width: d.
        heads: Attention heads; must divide the width.
        dropout_rate: Dropout after the last linear layer, in training.
        input_norm: Normalise text and frames by ln1 (released); the paper's form does not.
        bias: Biases of the four projections (released); the paper's appendix A has none.
        dtype: Compute type.
    """

    width: int
    heads: int = 1
    dropout_rate: float = 0.3
    input_norm: bool = True
    bias: bool = True
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Build the layers, under their names in the parameter tree."""
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"pooling_heads is {self.heads}; choose a divisor of the width {self.width}")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"pooling_dropout is {self.dropout_rate}; give 0 or more, below 1")
        self.query = Projection(self.width, self.bias)
        self.key = Projection(self.width, self.bias)
        self.value = Projection(self.width, self.bias)
        self.output = Projection(self.width, self.bias)
        self.linear = nn.Dense(self.width, kernel_init=identity_kernel, dtype=self.dtype)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(epsilon=1e-5) for _ in range(3))

    def _normalised(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        x = self.norm1(at_least_float32(x)) if self.input_norm else x
        return x if self.dtype is None else x.astype(self.dtype)

    def prepare(self, frames: Float[Array, "Bv M d"], mask: Bool[Array, "Bv M"]) -> PooledFrames:
        """Compute the part of the pooling that needs only the videos."""
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
        """Compute the frame weights of each pair and attention head, which sum to 1 over valid frames.

        Args:
            text: As in `__call__`.
            video: From `prepare`.
        """
        text = self._normalised(text)
        if text.shape[1] == 1:  # one text for all videos: no pair axis until the product
            logits = jnp.einsum("td,vmhd->tvhm", text[:, 0], video.keys)
        else:
            logits = jnp.einsum("tvd,vmhd->tvhm", text, video.keys)
        return self._weights(logits, video)

    def _weights(self, logits: Float[Array, "*#pairs heads M"], video: PooledFrames) -> Float[Array, "*pairs heads M"]:
        logits = at_least_float32(logits) + jnp.swapaxes(video.key_offsets, 1, 2)
        return masked_softmax(logits / (self.width / self.heads) ** 0.5, video.mask[:, None, :])

    def __call__(
        self, text: Float[Array, " Bt #Bv d"], video: PooledFrames, draws: Draws, ids: Ids
    ) -> Float[Array, "Bt Bv d"]:
        """Pool the videos for every pair.

        Args:
            text: [Bt, Bv, d], or [Bt, 1, d] when it is the same for all videos.
            video: From `prepare`.
            draws: Source of the dropout masks.
            ids: Ids of the pairs, for dropout.
        """
        weights = self.attention(text, video)
        pooled = jnp.einsum("tvhm,vmhd->tvd", weights.astype(video.values.dtype), video.values)
        pooled = self.norm2(at_least_float32(pooled) + self.output()[1])
        residual = draws.dropout("pooling_dropout", ids, self.linear(pooled), self.dropout_rate)
        return self.norm3(pooled + at_least_float32(residual))

    def matched(self, text: Float[Array, "B d"], video: PooledFrames) -> Float[Array, "B d"]:
        """Pool each video for the text of its row alone, without dropout."""
        weights = self._weights(jnp.einsum("bd,bmhd->bhm", self._normalised(text), video.keys), video)
        pooled = jnp.einsum("bhm,bmhd->bd", weights.astype(video.values.dtype), video.values)
        pooled = self.norm2(at_least_float32(pooled) + self.output()[1])
        return self.norm3(pooled + at_least_float32(self.linear(pooled)))
