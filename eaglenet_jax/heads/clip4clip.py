"""CLIP4Clip: the mean of frame features against the text, with or without a transformer over the frames before it
(SYSTEMS.md section 4).

Luo et al., CLIP4Clip, Neurocomputing 2022. The smallest possible head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from eaglenet_jax.clip.temporal import TemporalTransformer, from_text_tower
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, TextFeatures, VideoFeatures
from eaglenet_jax.layers.losses import SoftmaxLoss, repeated_video
from eaglenet_jax.layers.similarity import unit


class Clip4Clip(Head):
    """Mean pooling over valid frames, cosine, softmax loss.

    width: d. temporal: "mean", or "transformer" over the frames before the mean (seqTransf), which has
    temporal_positions, temporal_layers and temporal_heads. initial_logit_scale: CLIP's, at the start.
    mask_repeated_videos: another caption of the same video is no negative.
    """

    width: int
    temporal: str = "mean"
    temporal_positions: int = 77
    temporal_layers: int = 4
    temporal_heads: int = 8
    initial_logit_scale: float = 1 / 0.07
    mask_padding: bool = True
    mask_repeated_videos: bool = True

    def setup(self) -> None:
        """The loss holds the only parameter of the mean."""
        if self.temporal not in ("mean", "transformer"):
            raise ValueError(f"Clip4Clip.temporal {self.temporal!r} is none of mean, transformer")
        if self.temporal == "transformer":
            self.transformer = TemporalTransformer(
                self.width, self.temporal_positions, self.temporal_layers, self.temporal_heads
            )
        self.matching_loss = SoftmaxLoss(self.initial_logit_scale)

    def start_from_clip(self, params: Mapping[str, Any], clip: Mapping[str, Any]) -> dict[str, Any]:
        """The transformer starts as the first blocks of the text tower."""
        if self.temporal == "mean":
            return dict(params)
        return {**params, "transformer": from_text_tower(params["transformer"], clip["text"])}

    def prepare_text(self, text: TextFeatures) -> Array:
        """Unit text features [Bt, d]."""
        return unit(text.pooled)

    def prepare_video(self, video: VideoFeatures) -> Array:
        """Unit mean of unit frame features [Bv, d]."""
        mask = video.mask if self.mask_padding else jnp.ones_like(video.mask)
        seen = self.transformer(video.frames, mask) if self.temporal == "transformer" else video.frames
        frames = jnp.where(mask[..., None], unit(seen), 0)
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
