"""The pre-norm transformer block of both towers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from eaglenet_jax import accelerator
from eaglenet_jax.clip.token_shift import token_shift


def quick_gelu(x: Float[Array, "*batch w"]) -> Float[Array, "*batch w"]:
    """Apply the activation of OpenAI's weights, x · sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: Float[Array, "*batch w"]) -> Float[Array, "*batch w"]:
    """Apply the exact GELU, x · Φ(x)."""
    return jax.nn.gelu(x, approximate=False)


CUDNN_STEP, CUDNN_WIDEST = (
    8,
    128,
)  # head widths of cuDNN's attention: multiples, up to what any GPU takes
ACTIVATION_FUNCTIONS = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


def uses_cudnn(attention: str, dtype: DTypeLike, width: int) -> bool:
    """Return whether attention is computed by cuDNN's kernel, which keeps no [T, T] array in memory.

    It takes numbers of two bytes and heads of some widths. Over several devices nobody has run it, so it is for one.

    Args:
        attention: As of `ClipConfig`.
        dtype: Compute type.
        width: Of a head.
    """
    fits = jnp.dtype(dtype).itemsize == 2 and width % CUDNN_STEP == 0 and width <= CUDNN_WIDEST
    return attention == "auto" and fits and jax.device_count() == 1 and accelerator.is_recent_gpu()


def cudnn_attention(
    query: Float[Array, "N T h k"], key: Float[Array, "N T h k"], value: Float[Array, "N T h k"], causal: bool
) -> Float[Array, "N T h k"]:
    """Compute attention by cuDNN's fused kernel.

    Its gradient takes even numbers of tokens alone, so an odd one is filled up by a token that is not read.
    """
    count, length = query.shape[:2]
    if length % 2 == 0:
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation="cudnn")
    query, key, value = (jnp.pad(part, ((0, 0), (0, 1), (0, 0), (0, 0))) for part in (query, key, value))
    lengths = jnp.full(count, length, jnp.int32)
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        is_causal=causal,
        implementation="cudnn",
    )
    return attended[:, :length]


def layer_norm(dtype: DTypeLike, name: str, epsilon: float = 1e-5) -> nn.LayerNorm:
    """Build a layer normalisation, computed in at least float32 and returned in the compute type."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def pick_token(x: Float[Array, "N T w"], position: Int[Array, " N"]) -> Float[Array, "N 1 w"]:
    """Select one token of every sequence.

    Args:
        x: Token states.
        position: Index of the token, by sequence.
    """
    return jnp.take_along_axis(x, position[:, None, None], axis=1)


class Attention(nn.Module):
    """Multi-head self-attention with one fused kernel for queries, keys and values.

    Attributes:
        heads: Attention heads.
        output_std: Standard deviation of the initial output kernel.
        causal: Each token attends only to itself and the tokens before it.
        dtype: Compute type.
        attention: As of `ClipConfig`.
    """

    heads: int
    output_std: float
    causal: bool
    dtype: DTypeLike
    attention: str = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "N T w"], keep: Int[Array, " N"] | None, valid: Bool[Array, "N T"] | None
    ) -> Float[Array, "N Q w"]:
        """Attend to the tokens of every sequence.

        Args:
            x: Token states.
            keep: The one position to compute of every sequence (then Q = 1), or None for all (Q = T).
            valid: Tokens that may be attended to, or None for all.
        """
        count, length, width = x.shape
        kernel = self.param("qkv_kernel", nn.initializers.normal(width**-0.5), (width, 3 * width)).astype(self.dtype)
        bias = self.param("qkv_bias", nn.initializers.zeros, (3 * width,)).astype(self.dtype)
        positions = jnp.arange(length)
        plain = keep is None and valid is None
        fused = plain and uses_cudnn(self.attention, self.dtype, width // self.heads)
        if keep is None:
            query, key, value = jnp.split(x @ kernel + bias, 3, axis=-1)
            visible = positions[None, None, :] <= positions[None, :, None]
        else:
            query = pick_token(x, keep) @ kernel[:, :width] + bias[:width]
            key, value = jnp.split(x @ kernel[:, width:] + bias[width:], 2, axis=-1)
            visible = positions[None, None, :] <= keep[:, None, None]
        query, key, value = (part.reshape(count, -1, self.heads, width // self.heads) for part in (query, key, value))
        if fused:
            attended = cudnn_attention(query, key, value, self.causal)
        else:
            mask = visible[:, None] if self.causal else None
            if valid is not None:
                mask = valid[:, None, None] if mask is None else mask & valid[:, None, None]
            attended = jax.nn.dot_product_attention(query, key, value, mask=mask)
        attended = attended.reshape(count, -1, width)
        start = nn.initializers.normal(self.output_std)
        return nn.Dense(width, kernel_init=start, dtype=self.dtype, name="output")(attended)


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    The initial kernels that add to the residual stream are CLIP's: normal with standard deviation
    width^-0.5 · (2 depth)^-0.5, and (2 width)^-0.5 for the first layer of the MLP.

    Attributes:
        heads: Attention heads.
        depth: Number of blocks of the tower, which sets the initial standard deviation.
        activation: One of `ACTIVATION_FUNCTIONS`.
        causal: Each token attends only to itself and the tokens before it.
        dtype: Compute type.
        epsilon: ε of the layer normalisations.
        hidden: Hidden width of the MLP, 0 for four times the width.
        attention: As of `ClipConfig`.
    """

    heads: int
    depth: int
    activation: str
    causal: bool
    dtype: DTypeLike
    epsilon: float = 1e-5
    hidden: int = 0
    attention: str = "auto"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "N T w"],
        frame_mask: Bool[Array, "B M"] | None = None,
        keep: Int[Array, " N"] | None = None,
        valid: Bool[Array, "N T"] | None = None,
    ) -> Float[Array, "N Q w"]:
        """Apply the block.

        With `keep` (the last block of a tower of which one token is read) the other tokens are not computed; the
        numbers are the same.

        Args:
            x: Token states.
            frame_mask: If given, attention reads tokens shifted along time; N = B·M, False at frames that take no part.
            keep: The one position to compute of every sequence (then Q = 1), or None for all (Q = T).
            valid: Tokens that may be attended to, or None for all. The output of a sequence without any is undefined.
        """
        width = x.shape[-1]
        output_std = width**-0.5 * (2 * self.depth) ** -0.5
        inputs = layer_norm(self.dtype, "norm1", self.epsilon)(x)
        if frame_mask is not None:
            inputs = token_shift(inputs.reshape(*frame_mask.shape, *inputs.shape[1:]), frame_mask).reshape(inputs.shape)
        attended = Attention(self.heads, output_std, self.causal, self.dtype, self.attention, name="attention")(
            inputs, keep, valid
        )
        x = (x if keep is None else pick_token(x, keep)) + attended
        hidden = layer_norm(self.dtype, "norm2", self.epsilon)(x)
        start = nn.initializers.normal((2 * width) ** -0.5)
        hidden = nn.Dense(self.hidden or 4 * width, kernel_init=start, dtype=self.dtype, name="mlp_up")(hidden)
        hidden = ACTIVATION_FUNCTIONS[self.activation](hidden)
        start = nn.initializers.normal(output_std)
        return x + nn.Dense(width, kernel_init=start, dtype=self.dtype, name="mlp_down")(hidden)


SharedBlock = nn.jit(Block)
SharedRematBlock = nn.jit(nn.remat(Block))


def block_class(tower: nn.Module, remat: bool = False) -> type[Block]:
    """Return the class of a tower's blocks, under which equal blocks share one function that is traced once.

    Args:
        tower: The module that has them. While it is initialised it gets plain blocks, since `nn.jit` draws other random
            numbers.
        remat: States inside a block are computed again for the gradient.
    """
    if tower.is_initializing():
        return Block
    return SharedRematBlock if remat else SharedBlock
