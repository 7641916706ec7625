"""CLIP4Clip: cosine of the text with the mean frame, optionally after a transformer (docs/systems.md section 4).

Luo et al., CLIP4Clip, Neurocomputing 2022. The smallest head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.temporal import TemporalTransformer, from_text_tower
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_choices
from eaglenet_jax.layers.similarity import unit


class Clip4Clip(Head):
    """Mean pooling over valid frames, cosine, softmax loss.

    Attributes:
        width: d.
        temporal: "mean", or "transformer": a transformer over the frames before the mean (seqTransf).
        temporal_positions: Learned frame positions of the transformer.
        temporal_layers: Blocks of the transformer.
        temporal_heads: Attention heads of the transformer.
        temporal_epsilon: ε of the transformer's layer normalisations (1e-12 in the released program).

    Other attributes as in `Head`.
    """

    width: int
    temporal: str = "mean"
    temporal_positions: int = 77
    temporal_layers: int = 4
    temporal_heads: int = 8
    temporal_epsilon: float = 1e-5

    # The released CLIP4Clip leaves padding frames out.
    presets: ClassVar = {"released": {"mask_repeated_videos": False, "temporal_epsilon": 1e-12}}
    bounds: ClassVar = {**Head.bounds, "temporal_layers": (1, math.inf), "temporal_epsilon": (0, math.inf)}

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        # The temporal transformer starts from the text tower, so it has as many positions and heads.
        del frames
        return {
            "width": clip.embed_dim,
            "temporal_positions": clip.context_length,
            "temporal_heads": clip.text_heads,
        }

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        unread = super().unread_options(options)
        if options.get("temporal") == "mean":
            reason = "temporal is 'mean', which has no layers; use the system seqtransf"
            unread |= dict.fromkeys(("temporal_layers", "temporal_epsilon"), reason)
        return unread

    def setup(self) -> None:
        """Build the transformer, if there is one, and the loss."""
        check_choices(self, temporal=("mean", "transformer"))
        if self.temporal == "transformer":
            self.transformer = TemporalTransformer(
                self.width,
                self.temporal_positions,
                self.temporal_layers,
                self.temporal_heads,
                self.temporal_epsilon,
            )
        self.matching_loss = self.make_matching_loss()

    def start_from_clip(
        self, params: Mapping[str, Any], clip: Mapping[str, Any], logit_scale: Any = None
    ) -> dict[str, Any]:
        """Initialise the transformer from the first blocks of the text tower."""
        params = super().start_from_clip(params, clip, logit_scale)
        if self.temporal == "mean":
            return params
        return {**params, "transformer": from_text_tower(params["transformer"], clip["text"])}

    def prepare_text(self, text: TextFeatures) -> Array:
        """Normalise the text features to unit length, [Bt, d]."""
        return unit(text.pooled)

    def prepare_video(self, video: VideoFeatures) -> Array:
        """Compute the unit mean of unit frame features, [Bv, d]."""
        mask = self.valid_frames(video)
        frames = self.transformer(video.frames, mask) if self.temporal == "transformer" else video.frames
        frames = jnp.where(mask[..., None], unit(frames), 0)
        return unit(jnp.sum(frames, axis=1))

    def score(self, text: Array, video: Array, draws: Draws, aux: bool = False) -> PairScores:
        """Compute the cosines [Bt, Bv]."""
        return PairScores(text @ video.T)
