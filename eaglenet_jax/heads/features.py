"""Inputs and outputs of heads: features of texts and videos, and scores of their pairs."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import struct

Array = Any  # jax.Array, numpy array or tracer; feature dataclasses travel through vmap, eval_shape and sharding trees.


@struct.dataclass
class TextFeatures:
    """Encoded captions. The example is the leading axis of every leaf.

    Attributes:
        id: [B] uint32, first 32 bits of BLAKE2 of the caption's id.
        pooled: [B, d], the end-of-text feature, not normalised.
        words: [B, L, d], projected word states, or None.
        mask: [B, L] bool, True at start token, words and end token.
        extra: Inputs that only some systems need, leaves [B, ...].
    """

    id: Array
    pooled: Array
    words: Array | None
    mask: Array
    extra: dict[str, Any] = struct.field(default_factory=dict)


@struct.dataclass
class PreparedText:
    """Prepared captions of heads that use only the pooled text feature.

    Attributes:
        id: [Bt].
        pooled: [Bt, d].
    """

    id: Array
    pooled: Array


@struct.dataclass
class VideoFeatures:
    """Encoded videos. The example is the leading axis of every leaf.

    Attributes:
        id: [B] uint32, first 32 bits of BLAKE2 of the video's id.
        frames: [B, M, d], class-token features, not normalised.
        patches: [B, M, P, p], projected patch states, or None.
        mask: [B, M] bool, True for real frames, False for padding.
        extra: Inputs that only some systems need, leaves [B, ...].
    """

    id: Array
    frames: Array
    patches: Array | None
    mask: Array
    extra: dict[str, Any] = struct.field(default_factory=dict)


@struct.dataclass
class PairScores:
    """Scores of a block of texts against a block of videos.

    Attributes:
        similarity: [Bt, Bv], in promote_types(dtype, float32).
        aux: Leaves [Bt, Bv, ...], filled only on request.
    """

    similarity: Array
    aux: dict[str, Any] = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TokenShape:
    """Tokens of a frame that the second stage attends to, class token first.

    Attributes:
        count: Tokens of a frame.
        width: Width of a token.
        source: "" for tokens of the first stage's own vision encoder; else another encoder (a folder or name, as in
            `init_from`), whose tokens come in VideoFeatures.extra["tokens"] [B, M, count, width].
    """

    count: int = 0
    width: int = 0
    source: str = ""

    @property
    def shared(self) -> bool:
        """Whether the tokens come from the first stage's encoder."""
        return not self.source
