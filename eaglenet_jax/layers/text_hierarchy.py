"""SHE-Net's text hierarchy: sentence, verbs, nouns, adjectives as dense arrays (eq. 1–6, 8, 11, 15 and 20–24).

A caption's syntax comes as arrays of fixed size, see `empty_syntax`. ⊙ in the paper is an inner product;
`AttentionLogits` says what it is inside a softmax.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from eaglenet_jax.layers.similarity import at_least_float32, masked_softmax, unit

SMALL = nn.initializers.normal(0.02)


def empty_syntax(texts: int, verbs: int, nouns: int, adjectives: int) -> dict[str, np.ndarray]:
    """Create the syntax of captions without words.

    Args:
        texts: B.
        verbs: V.
        nouns: N.
        adjectives: A.

    Returns:
        int32 arrays. verbs [B, V, 2], nouns [B, N, 2], adjectives [B, A, 2]: first token of each word and the one after
        its last, equal where there is no word. noun_verb [B, N]: the verb of each noun, 0 where the caption has none.
        adjective_noun [B, A]: the noun of each adjective.
    """
    return {
        "verbs": np.zeros((texts, verbs, 2), np.int32),
        "nouns": np.zeros((texts, nouns, 2), np.int32),
        "adjectives": np.zeros((texts, adjectives, 2), np.int32),
        "noun_verb": np.zeros((texts, nouns), np.int32),
        "adjective_noun": np.zeros((texts, adjectives), np.int32),
    }


@struct.dataclass
class TextNodes:
    """Nodes of captions.

    Attributes:
        whole: [B, d], the sentence.
        verbs: [B, V, d].
        verb_weights: [B, V], 0 where there is no node; the others sum to 1.
        nouns: [B, N, d].
        noun_weights: [B, N], as `verb_weights`.
        noun_verb: [B, N], the verb of each noun.
    """

    whole: Array
    verbs: Array
    verb_weights: Array
    nouns: Array
    noun_weights: Array
    noun_verb: Array


def span_means(words: Float[Array, "B L d"], spans: Int[Array, "B N 2"]) -> Float[Array, "B N d"]:
    """Average the token states of every span (first token, the one after the last); zero for an empty span."""
    positions = jnp.arange(words.shape[1])
    inside = (positions >= spans[..., :1]) & (positions < spans[..., 1:])
    weights = inside.astype(words.dtype) / jnp.maximum(jnp.sum(inside, axis=-1, keepdims=True), 1).astype(words.dtype)
    return jnp.einsum("bnl,bld->bnd", weights, words)


def is_word(spans: Int[Array, "B N 2"]) -> Bool[Array, "B N"]:
    """Return where a span holds a word."""
    return spans[..., 1] > spans[..., 0]


def of_verbs(values: Float[Array, "B V *rest"], noun_verb: Int[Array, "B N"]) -> Float[Array, "B N *rest"]:
    """Gather the values of the verb of each noun."""
    return jax.vmap(lambda row, verb: row[verb])(values, noun_verb)


class TwoLayers(nn.Module):
    """linear → QuickGELU → linear, to `width`: the paper's MLP and Fusion, whose inside it leaves open."""

    width: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch e"]) -> Float[Array, "*batch d"]:
        """Apply the layers; the result is in the compute type."""
        hidden = nn.Dense(self.width, kernel_init=SMALL, dtype=self.dtype, name="up")(x)
        hidden = hidden * jax.nn.sigmoid(1.702 * hidden)
        return nn.Dense(self.width, kernel_init=SMALL, dtype=self.dtype, name="down")(hidden)


class ResidualNorm(nn.Module):
    """Norm(x + MLP(x)), at least float32."""

    width: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """Apply the layers."""
        x = at_least_float32(x)
        residual = at_least_float32(TwoLayers(self.width, self.dtype, name="mlp")(x))
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(x + residual)


@dataclasses.dataclass(frozen=True)
class AttentionLogits:
    """Form of the logits of eq. 4, 9, 21 and 23.

    Attributes:
        normalise: Of unit vectors.
        scale: Factor of the logits, an inverse temperature; where it is learned, its initial value.
        learned: Learn its logarithm.
    """

    normalise: bool = True
    scale: float = 1.0
    learned: bool = False

    def key(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """Convert to what the inner product is taken of."""
        return unit(x) if self.normalise else at_least_float32(x)

    def factor(self, module: nn.Module, name: str) -> Array | float:
        """Return the factor of one softmax, if learned exp of the parameter `name` of the module."""
        if not self.learned:
            return self.scale
        start = nn.initializers.constant(math.log(self.scale))
        return jnp.exp(module.param(name, start, ()))


class TextHierarchy(nn.Module):
    """Module that turns captions and their syntax into weighted nodes.

    Attributes:
        width: d.
        nouns: Whether noun nodes take part.
        adjectives: Whether adjectives take part.
        structured: Shape the nodes by the text hierarchy (eq. 3–6, 11, 15); without it they are the word features of
            eq. 2.
        weighted: Use the node weights of eq. 20–24; else all nodes of a level have equal weight.
        logits: Logits of its softmaxes.
        dtype: Compute type.
    """

    width: int
    nouns: bool = True
    adjectives: bool = True
    structured: bool = True
    weighted: bool = True
    logits: AttentionLogits = AttentionLogits()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "B d"], words: Float[Array, "B L d"], syntax: Mapping[str, Array]
    ) -> TextNodes:
        """Compute the nodes of captions. A caption without a verb gets the learned [EXIST] as its verb.

        Args:
            pooled: Caption features.
            words: Token states.
            syntax: Arrays as in `empty_syntax`.
        """
        words = at_least_float32(words)
        whole = self._shaped("1", pooled)  # eq. 8

        is_verb = is_word(syntax["verbs"])
        first = jnp.arange(is_verb.shape[1]) == 0
        is_exist = ~jnp.any(is_verb, axis=1, keepdims=True) & first
        exist = self.param("exist", SMALL, (self.width,))
        verbs = jnp.where(is_exist[..., None], exist.astype(words.dtype), span_means(words, syntax["verbs"]))
        is_verb = is_verb | is_exist
        verbs = self._shaped("2", verbs) if self.structured else verbs  # eq. 11

        is_noun = is_word(syntax["nouns"]) & self.nouns
        nouns, noun_verb = span_means(words, syntax["nouns"]), syntax["noun_verb"]
        if self.nouns and self.structured:
            if self.adjectives:
                nouns = self._described(nouns, words, syntax)
            nouns = self._shaped("3", nouns)  # eq. 15

        verb_logits, noun_logits = jnp.zeros_like(verbs[..., 0]), jnp.zeros_like(nouns[..., 0])
        if self.weighted:
            key = self.logits.key
            verb_keys = key(self._shaped("5", verbs))  # eq. 20
            to_whole = jnp.einsum("bd,bnd->bn", key(whole), verb_keys)  # eq. 21
            verb_logits = self.logits.factor(self, "verb_log_scale") * to_whole
            if self.nouns:
                to_verb = jnp.sum(of_verbs(verb_keys, noun_verb) * key(nouns), axis=-1)  # eq. 23
                noun_logits = self.logits.factor(self, "noun_log_scale") * (of_verbs(to_whole, noun_verb) + to_verb)
        return TextNodes(
            whole,
            verbs,
            masked_softmax(verb_logits, is_verb),  # eq. 22
            nouns,
            masked_softmax(noun_logits, is_noun),  # eq. 24
            noun_verb,
        )

    def _shaped(self, number: str, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return ResidualNorm(self.width, self.dtype, name=f"shape_{number}")(x)

    def _described(
        self, nouns: Float[Array, "B N d"], words: Float[Array, "B L d"], syntax: Mapping[str, Array]
    ) -> Float[Array, "B N d"]:
        """Add to the nouns what describes them, eq. 3–6; γ is zero for a noun without adjectives."""
        shaped = self._shaped("4", nouns)
        adjectives = span_means(words, syntax["adjectives"])
        places = jnp.arange(nouns.shape[1])[:, None]
        belongs = is_word(syntax["adjectives"])[:, None] & (syntax["adjective_noun"][:, None] == places)
        fit = jnp.einsum("bnd,bad->bna", self.logits.key(shaped), self.logits.key(adjectives))
        weights = masked_softmax(self.logits.factor(self, "adjective_log_scale") * fit, belongs)
        described = jnp.einsum("bna,bad->bnd", weights, adjectives)
        both = jnp.concatenate([shaped, described], axis=-1)
        return shaped + at_least_float32(TwoLayers(self.width, self.dtype, name="fusion")(both))
