"""Query transformer of BLIP-2 (Q-Former): learned queries that attend to words and visual tokens.

A layer, normalised after each sum as in BERT: self-attention of queries and words together; in every `cross_every`-th
layer, cross-attention of the queries to the visual tokens; a feed-forward network of the queries and one of the words.

A caption meets every frame of a video, so leading axes may broadcast: words [pairs, 1, l, w] and visual tokens
[pairs, frames, n, e]. What is the same for all frames is then computed once a pair: of the first layer the
self-attention and the words' feed-forward network, of the second the words' keys and values. Of the last layer the
queries alone are computed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from eaglenet_jax.draws import Draws
from eaglenet_jax.layers.similarity import at_least_float32, masked_softmax

NORM_EPS = 1e-12
BERT_WIDTH = 768


def small_start(width: int) -> Initializer:
    """Build the initializer N(0, 0.02² · 768/width), BERT's at its width.

    What an attention adds to the residual stream then has the same size at every width. With 0.02 at a width of 64 the
    part of a logit that belongs to the pair would start 400 times smaller.
    """
    return nn.initializers.normal(0.02 * (BERT_WIDTH / width) ** 0.5)


@dataclasses.dataclass(frozen=True)
class QueryShape:
    """Sizes of a query transformer, by default BLIP-2's.

    Attributes:
        width: Width of queries and words.
        layers: Number of layers.
        heads: Attention heads.
        hidden: Hidden width of the feed-forward networks.
        cross_every: Layers from one cross-attention to the next.
        dropout_rate: Dropout of the terms added to the residual stream.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    cross_every: int = 2
    dropout_rate: float = 0.1


@struct.dataclass
class Tokens:
    """Tokens that are attended to.

    Attributes:
        states: [*batch, n, e].
        mask: [*batch, n], False where there is no token.
        bias: [*batch, n], added to the attention logits, or None.
    """

    states: Array
    mask: Array
    bias: Array | None = None


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Dropout keyed by pair.

    Attributes:
        draws: Source of the dropout masks.
        ids: Ids of the pairs, the leading axes of every array.
        rate: Dropout rate.
        name: Prefix of the names of the masks.
    """

    draws: Draws
    ids: Sequence[Array]
    rate: float
    name: str

    def __call__(self, part: str, x: Array) -> Array:
        """Apply dropout to `x`, in training."""
        return self.draws.dropout(f"{self.name}_{part}", self.ids, x, self.rate)


def joined(parts: Sequence[Array], axis: int = -2) -> Array:
    """Concatenate along `axis`, -1 or -2, after the axes before it are broadcast."""
    if len(parts) == 1:
        return parts[0]
    leading = jnp.broadcast_shapes(*(part.shape[:axis] for part in parts))
    return jnp.concatenate([jnp.broadcast_to(part, (*leading, *part.shape[axis:])) for part in parts], axis)


def bert_norm(name: str) -> nn.LayerNorm:
    """Build BERT's layer normalisation."""
    return nn.LayerNorm(epsilon=NORM_EPS, use_fast_variance=False, name=name)


@dataclasses.dataclass(frozen=True)
class HeadProjection:
    """Projection of tokens to the keys or values of all heads.

    Attributes:
        kernel: [e, h, c].
        bias: [h, c].
    """

    kernel: Array
    bias: Array

    def __call__(self, tokens: Float[Array, "*batch n e"]) -> Float[Array, "*batch n h c"]:
        """Project the tokens."""
        return jnp.einsum("...ne,ehc->...nhc", tokens, self.kernel) + self.bias


class HeadDense(nn.Module):
    """The parameters of an `nn.Dense` whose outputs are divided among heads."""

    heads: int
    width: int

    @nn.compact
    def __call__(self, inputs: int, dtype: DTypeLike) -> HeadProjection:
        """Return them in that type, for inputs of that width."""
        kernel = self.param("kernel", small_start(self.width), (inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        shape = (self.heads, self.width // self.heads)
        return HeadProjection(
            jnp.asarray(kernel, dtype).reshape(inputs, *shape), jnp.asarray(bias, dtype).reshape(shape)
        )


def folding_pays(queries: Sequence[int], tokens: Sequence[int], heads: int) -> bool:
    """Return whether projecting the queries to the space of the tokens takes fewer products than projecting the tokens.

    Args:
        queries: Their shape [*batch, q, w].
        tokens: Their shape [*batch, n, e], leading axes broadcast against those of the queries.
        heads: Attention heads.
    """
    (few, width), (many, inputs) = queries[-2:], tokens[-2:]
    joint = math.prod(jnp.broadcast_shapes(tuple(queries[:-2]), tuple(tokens[:-2]))) * few
    projected = math.prod(tokens[:-1]) * inputs * width + joint * many * width
    folded = math.prod(queries[:-1]) * width * inputs + joint * many * heads * inputs
    return folded < projected


def attention_logits(
    query: Float[Array, "*batch q h c"], tokens: Array, key: HeadProjection, fold: bool
) -> Float[Array, "*joint h q n"]:
    """Compute q · (W s + b) for tokens s [*batch, n, e]; with `fold` as (Wᵀ q) · s + q · b."""
    if not fold:
        return jnp.einsum("...qhc,...nhc->...hqn", query, key(tokens))
    folded = jnp.einsum("...qhc,ehc->...hqe", query, key.kernel)
    bias = jnp.einsum("...qhc,hc->...hq", query, key.bias)
    return jnp.einsum("...hqe,...ne->...hqn", folded, tokens) + bias[..., None]


def attended_values(
    weights: Float[Array, "*batch h q n"], tokens: Array, value: HeadProjection, fold: bool
) -> Float[Array, "*joint q h c"]:
    """Compute Σ a (W s + b) for tokens s [*batch, n, e] and weights a; with `fold` as W (Σ a s) + b Σ a."""
    if not fold:
        return jnp.einsum("...hqn,...nhc->...qhc", weights, value(tokens))
    mean = jnp.einsum("...hqn,...ne->...hqe", weights, tokens)
    bias = jnp.einsum("...hqn,hc->...qhc", weights, value.bias)
    return jnp.einsum("...hqe,ehc->...qhc", mean, value.kernel) + bias


class AddedAttention(nn.Module):
    """norm(x + output(attention of x to tokens)).

    Few queries that look at many tokens fold the projections of keys and values into the queries and into what they
    attend to: fewer products, and no projected tokens that the gradient would have to keep.
    """

    heads: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch q w"], parts: Sequence[Tokens], dropout: Dropout, part: str
    ) -> Float[Array, "*joint q w"]:
        """Attend to the tokens of all parts together; leading axes of `x` and of the parts broadcast."""
        width, inputs = x.shape[-1], parts[0].states.shape[-1]
        start = small_start(width)
        query = nn.Dense(width, kernel_init=start, dtype=self.dtype, name="query")(x)
        query = query.reshape(*query.shape[:-1], self.heads, width // self.heads)

        key, value = (HeadDense(self.heads, width, name=name)(inputs, query.dtype) for name in ("key", "value"))
        states = [tokens.states.astype(query.dtype) for tokens in parts]
        folds = [folding_pays(x.shape, each.shape, self.heads) for each in states]
        seen = [attention_logits(query, each, key, fold) for each, fold in zip(states, folds, strict=True)]
        logits = at_least_float32(joined(seen, axis=-1)) / (width // self.heads) ** 0.5
        if any(tokens.bias is not None for tokens in parts):
            biases = [jnp.zeros(tokens.mask.shape) if tokens.bias is None else tokens.bias for tokens in parts]
            logits = logits + joined(biases, axis=-1)[..., None, None, :]
        mask = joined([tokens.mask for tokens in parts], axis=-1)
        weights = masked_softmax(logits, mask[..., None, None, :]).astype(query.dtype)
        self.sow("intermediates", "weights", weights)  # kept only where `with_weights` asks for it
        of_parts = jnp.split(weights, np.cumsum([each.shape[-2] for each in states])[:-1], axis=-1)
        values = [
            attended_values(share, each, value, fold) for share, each, fold in zip(of_parts, states, folds, strict=True)
        ]
        attended = functools.reduce(jnp.add, values)
        attended = attended.reshape(*attended.shape[:-2], width)
        added = nn.Dense(width, kernel_init=start, dtype=self.dtype, name="output")(attended)
        return bert_norm("norm")(x + dropout(part, at_least_float32(added)))


class AddedFeedForward(nn.Module):
    """norm(x + down(gelu(up(x))))."""

    hidden: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch q w"], dropout: Dropout, part: str) -> Float[Array, "*batch q w"]:
        start = small_start(x.shape[-1])
        up = nn.Dense(self.hidden, kernel_init=start, dtype=self.dtype, name="up")(x)
        down = nn.Dense(x.shape[-1], kernel_init=start, dtype=self.dtype, name="down")
        return bert_norm("norm")(x + dropout(part, at_least_float32(down(jax.nn.gelu(up, approximate=False)))))


class QueryTransformer(nn.Module):
    """All layers of the query transformer.

    Attributes:
        shape: Sizes.
        dtype: Compute type.
    """

    shape: QueryShape
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, queries: Tokens, words: Tokens | None, visual: Tokens, dropout: Dropout) -> Array:
        """Apply all layers.

        Args:
            queries: States [*batch, q, w]; masked ones are not attended to.
            words: States [*batch, l, w], which take part in self-attention, or None.
            visual: States [*batch, n, e].
            dropout: Dropout of the pass.

        Returns:
            The queries [*batch, q, w], at least float32, where *batch are the leading axes of all three broadcast.
        """
        parts = [at_least_float32(queries.states)] + ([] if words is None else [at_least_float32(words.states)])
        masks = [queries.mask] + ([] if words is None else [words.mask])
        count = queries.states.shape[-2]
        for layer in range(self.shape.layers):
            attend = AddedAttention(self.shape.heads, self.dtype, name=f"self_attention_{layer}")
            read = parts if layer + 1 < self.shape.layers else parts[:1]  # of the last layer the queries alone are read
            x = attend(joined(read), list(map(Tokens, parts, masks)), dropout, f"self_{layer}")
            states, word_states = x[..., :count, :], x[..., count:, :]
            if layer % self.shape.cross_every == 0:
                attend = AddedAttention(self.shape.heads, self.dtype, name=f"cross_attention_{layer}")
                states = attend(states, [visual], dropout, f"cross_{layer}")
            feed = AddedFeedForward(self.shape.hidden, self.dtype, name=f"query_feed_{layer}")
            parts = [feed(states, dropout, f"query_feed_{layer}")]
            if len(read) > 1:
                feed = AddedFeedForward(self.shape.hidden, self.dtype, name=f"word_feed_{layer}")
                parts.append(feed(word_states, dropout, f"word_feed_{layer}"))
        return parts[0]

    def with_weights(
        self, queries: Tokens, words: Tokens | None, visual: Tokens, dropout: Dropout
    ) -> tuple[Array, Array]:
        """Apply all layers and return their weights too: (queries [*batch, q, w], weights [*batch, q, n]).

        The weights are those of the cross-attention to the visual tokens, the mean over heads and layers; of each query
        they sum to 1. Arguments as of `__call__`.
        """
        module, variables = self.unbind()
        found, state = module.apply(variables, queries, words, visual, dropout, mutable=["intermediates"])
        kept = state["intermediates"]
        weights = [part["weights"][0] for name, part in kept.items() if name.startswith("cross_attention_")]
        return found, jnp.mean(jnp.stack(weights), axis=(0, -3))
