"""CLIP4Clip: the mean of normalised frame features against the text (SYSTEMS.md section 4).

Luo et al., CLIP4Clip, Neurocomputing 2022. The smallest possible head.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, TextFeatures, VideoFeatures
from eaglenet_jax.layers.losses import SoftmaxLoss, repeated_video
from eaglenet_jax.layers.similarity import unit


class Clip4Clip(Head):
    """Mean pooling over valid frames, cosine, softmax loss.

    initial_logit_scale: CLIP's, at the start. mask_repeated_videos: another caption of the same video is no negative.
    """

    initial_logit_scale: float = 1 / 0.07
    mask_padding: bool = True
    mask_repeated_videos: bool = True

    def setup(self) -> None:
        """The loss holds the only parameter."""
        self.matching_loss = SoftmaxLoss(self.initial_logit_scale)

    def prepare_text(self, text: TextFeatures) -> Array:
        """Unit text features [Bt, d]."""
        return unit(text.pooled)

    def prepare_video(self, video: VideoFeatures) -> Array:
        """Unit mean of unit frame features [Bv, d]."""
        mask = video.mask if self.mask_padding else jnp.ones_like(video.mask)
        frames = jnp.where(mask[..., None], unit(video.frames), 0)
        return unit(jnp.sum(frames, axis=1))

    def score(self, text: Array, video: Array, draws: Draws, aux: bool = False) -> PairScores:
        """Cosines [Bt, Bv]."""
        return PairScores(text @ video.T)

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Symmetric softmax loss of the batch."""
        scores = pairwise(self.score, self.prepare_text(text), self.prepare_video(video), draws)
        ignored = repeated_video(video.id) & self.mask_repeated_videos
        loss = self.matching_loss(scores.similarity, ignored)
        return loss, {"match_loss": loss}, head_state
