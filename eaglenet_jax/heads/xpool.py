"""X-Pool: the text pools the frames of every video by attention (SYSTEMS.md sections 2.3 and 4).

Gorti et al., X-Pool, CVPR 2022.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.layers.frame_pooling import FramePooling, PooledFrames
from eaglenet_jax.layers.losses import SoftmaxLoss, repeated_video
from eaglenet_jax.layers.similarity import cosine


class XPool(Head):
    """Frames pooled for each text, cosine with the text, softmax loss.

    width: d. pooling_heads, pooling_dropout: of the frame pooling. mask_padding: padding frames get no weight.
    mask_repeated_videos: another caption of the same video is no negative. dtype: compute type.
    """

    width: int
    pooling_heads: int = 1
    pooling_dropout: float = 0.3
    initial_logit_scale: float = 1 / 0.07
    mask_padding: bool = True
    mask_repeated_videos: bool = True
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Parts, under the names that the parameter tree shows."""
        self.pooling = FramePooling(self.width, self.pooling_heads, self.pooling_dropout, dtype=self.dtype)
        self.matching_loss = SoftmaxLoss(self.initial_logit_scale)

    def prepare_text(self, text: TextFeatures) -> PreparedText:
        """Text features [Bt, d] are all that a pair needs."""
        return PreparedText(text.id, text.pooled)

    def prepare_video(self, video: VideoFeatures) -> tuple[Array, PooledFrames]:
        """Ids [Bv], and keys and values of the frames."""
        mask = video.mask if self.mask_padding else jnp.ones_like(video.mask)
        return video.id, self.pooling.prepare(video.frames, mask)

    def score(
        self, text: PreparedText, video: tuple[Array, PooledFrames], draws: Draws, aux: bool = False
    ) -> PairScores:
        """cos(t, v(t, F)) for all pairs. aux: "pooled" [Bt, Bv, d], "frame_weights" [Bt, Bv, M]."""
        video_id, frames = video
        each = text.pooled[:, None]
        pooled = self.pooling(each, frames, draws, (text.id[:, None], video_id[None]))
        similarity = cosine(each, pooled)
        if not aux:
            return PairScores(similarity)
        weights = jnp.mean(self.pooling.attention(each, frames), axis=2)
        return PairScores(similarity, {"pooled": pooled, "frame_weights": weights})

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Symmetric softmax loss of the batch."""
        scores = pairwise(self.score, self.prepare_text(text), self.prepare_video(video), draws)
        ignored = repeated_video(video.id) & self.mask_repeated_videos
        loss = self.matching_loss(scores.similarity, ignored)
        return loss, {"match_loss": loss}, head_state
