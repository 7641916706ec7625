"""X-Pool: the text pools the frames of every video by attention (docs/systems.md sections 2.3 and 4).

Gorti et al., X-Pool, CVPR 2022.
"""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.layers.frame_pooling import FramePooling, PooledFrames
from eaglenet_jax.layers.similarity import cosine


class XPool(Head):
    """Frames pooled for each text, cosine with the text, softmax loss.

    Attributes:
        width: d.
        pooling_heads: Attention heads of the frame pooling.
        pooling_dropout: Dropout of the frame pooling.

    Other attributes as in `Head`.
    """

    width: int
    pooling_heads: int = 1
    pooling_dropout: float = 0.3

    bounds: ClassVar = {**Head.bounds, "pooling_heads": (1, math.inf)}

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        self.pooling = FramePooling(self.width, self.pooling_heads, self.pooling_dropout, dtype=self.dtype)
        self.matching_loss = self.make_matching_loss()

    def prepare_text(self, text: TextFeatures) -> PreparedText:
        """Take id and text feature [Bt, d]."""
        return PreparedText(text.id, text.pooled)

    def prepare_video(self, video: VideoFeatures) -> tuple[Array, PooledFrames]:
        """Compute ids [Bv], and keys and values of the frames."""
        return video.id, self.pooling.prepare(video.frames, self.valid_frames(video))

    def score(
        self, text: PreparedText, video: tuple[Array, PooledFrames], draws: Draws, aux: bool = False
    ) -> PairScores:
        """Compute cos(t, v(t, F)) for all pairs. In aux: "pooled" [Bt, Bv, d], "frame_weights" [Bt, Bv, M]."""
        video_id, frames = video
        query = text.pooled[:, None]
        pooled = self.pooling(query, frames, draws, (text.id[:, None], video_id[None]))
        similarity = cosine(query, pooled)
        if not aux:
            return PairScores(similarity)
        weights = jnp.mean(self.pooling.attention(query, frames), axis=2)
        return PairScores(similarity, {"pooled": pooled, "frame_weights": weights})
