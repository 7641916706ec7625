"""T-MASS: a text as a cloud whose radius depends on the video (docs/systems.md sections 2.1 and 4).

Wang et al., Text Is MASS, CVPR 2024. Its first public evaluation pooled a video with its own caption, which leaks the
answer; here every text scores every video in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_choices
from eaglenet_jax.layers.frame_pooling import FramePooling, PooledFrames
from eaglenet_jax.layers.similarity import cosine, unit
from eaglenet_jax.layers.stochastic_text import RADIUS_KINDS, Radius, candidates, frame_similarities, toward


@struct.dataclass
class PreparedVideo:
    """Prepared videos.

    Attributes:
        id: [Bv].
        frames: [Bv, M, d].
        mask: [Bv, M].
        pooling: Keys and values of the frames.
    """

    id: Array
    frames: Array
    mask: Array
    pooling: PooledFrames


class TMass(Head):
    """Stochastic text matched with frames pooled by the text.

    Attributes:
        width: d.
        radius_kind: Form of the radius, see `Radius`. "none" is X-Pool: training and evaluation read the text itself.
        radius_bias: exp(W s + b), or the paper's exp(s W); of radius_kind "linear" alone.
        samples: S, stochastic texts a pair in evaluation, of which the best counts; 0 scores the text itself.
        text_weight: Weight of the loss of the text itself (the paper's table 6a), besides that of its stochastic text.
        support: Target of the support text: "mean" over texts of the pooled videos (released), or the pair's "own"
            (paper).
        support_weight: Weight α of the support loss (0.8 in the public program, 1.2 best in the paper's figure 6).
        pooling_heads: Attention heads of the frame pooling.
        pooling_dropout: Dropout of the frame pooling.

    Other attributes as in `Head`.
    """

    width: int
    radius_kind: str = "linear"
    radius_bias: bool = True
    samples: int = 20
    text_weight: float = 0.0
    support: str = "mean"
    support_weight: float = 0.8
    pooling_heads: int = 1
    pooling_dropout: float = 0.3

    presets: ClassVar = {
        **Head.presets,
        "paper": {"radius_bias": False, "support": "own"},
    }
    bounds: ClassVar = {**Head.bounds, "samples": (0, math.inf), "pooling_heads": (1, math.inf)}

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        unread = super().unread_options(options)
        if not options.get("support_weight"):
            unread["support"] = "support_weight is 0, so there is no support text"
        if options.get("radius_kind") != "linear":
            unread["radius_bias"] = f"radius_kind is {options.get('radius_kind')!r}, which has no W"
        if options.get("radius_kind") == "none":
            reason = "radius_kind is 'none', so the text is no cloud"
            unread |= dict.fromkeys(("samples", "text_weight", "support", "support_weight"), reason)
        return unread

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        check_choices(self, radius_kind=("none", *RADIUS_KINDS), support=("mean", "own"))
        if self.radius_kind != "none":
            self.radius = Radius(self.width, self.radius_bias, self.radius_kind)
        self.pooling = FramePooling(self.width, self.pooling_heads, self.pooling_dropout, dtype=self.dtype)
        self.matching_loss = self.make_matching_loss()

    def prepare_text(self, text: TextFeatures) -> PreparedText:
        """Take id and text feature [Bt, d]."""
        return PreparedText(text.id, text.pooled)

    def prepare_video(self, video: VideoFeatures) -> PreparedVideo:
        """Compute the keys and values of the frames, and keep the frames for the radius."""
        mask = self.valid_frames(video)
        return PreparedVideo(video.id, video.frames, mask, self.pooling.prepare(video.frames, mask))

    def score(self, text: PreparedText, video: PreparedVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Compute the best cosine of S stochastic texts of each pair with v(t, F), of the text itself without any.

        Returns:
            Similarities [Bt, Bv]; in aux "pooled" [Bt, Bv, d], "frame_weights" [Bt, Bv, M], and where there are samples
            "radius" [Bt, Bv, d].
        """
        query = text.pooled[:, None]
        pooled = self.pooling(query, video.pooling, draws, (text.id[:, None], video.id[None]))
        if self.samples and self.radius_kind != "none":
            radius = self._pair_radius(text, video)
            noise = draws.normal("samples", draws.pair_ids(text.id, video.id), (self.samples, self.width))
            aux_radius = {"radius": radius}
            similarity = jnp.einsum("tvsd,tvd->tvs", unit(candidates(query, radius, noise)), unit(pooled))
            best = jnp.max(similarity, axis=-1)
        else:
            best, aux_radius = cosine(query, pooled), {}
        if not aux:
            return PairScores(best)
        weights = jnp.mean(self.pooling.attention(query, video.pooling), axis=2)
        return PairScores(best, {"pooled": pooled, "frame_weights": weights, **aux_radius})

    def score_training(
        self, text: tuple[PreparedText, Array], video: PreparedVideo, draws: Draws
    ) -> tuple[Float[Array, "Bt Bv"], Float[Array, "Bt Bv d"]]:
        """Compute the cosines of one stochastic text a row with v(t, F), and the pooled videos.

        Args:
            text: Prepared texts, and their stochastic texts [Bt, d].
            video: Prepared videos.
            draws: Source of the dropout masks.
        """
        prepared, stochastic = text
        pooled = self.pooling(prepared.pooled[:, None], video.pooling, draws, (prepared.id[:, None], video.id[None]))
        return jnp.einsum("td,tvd->tv", unit(stochastic), unit(pooled)), pooled

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Compute L(stochastic text) + text_weight L(text) + α L(support text); L(text) alone without a radius.

        There is one stochastic text a pair, whose radius comes from its own video.
        """
        if self.radius_kind == "none":
            return super().loss(text, video, head_state, draws, pairwise)
        prepared_text, prepared_video = self.prepare_text(text), self.prepare_video(video)
        similarities = jnp.where(
            prepared_video.mask, jnp.sum(unit(text.pooled)[:, None] * unit(video.frames), axis=-1), 0
        )
        radius = self.radius(similarities, prepared_video.mask)
        stochastic = text.pooled + radius * draws.normal("stochastic_text", (text.id,), (self.width,))
        similarity, pooled = pairwise(self.score_training, (prepared_text, stochastic), prepared_video, draws)
        ignored = self.ignored_pairs(video)
        parts = {"match_loss": self.matching_loss(similarity, ignored)}
        loss = parts["match_loss"]
        if self.text_weight:
            of_text = pairwise(self.score_support, (text.pooled, pooled), ())
            parts["text_loss"] = self.matching_loss(of_text, ignored)
            loss = loss + self.text_weight * parts["text_loss"]
        if self.support_weight:
            if self.support == "own":
                support = pairwise(self.score_own_support, (prepared_text, pooled), prepared_video)
            else:
                # The target is the mean of the pooled videos without normalising them first (unlike EagleNet's).
                support_text = toward(text.pooled, jnp.mean(pooled, axis=0), radius)
                support = pairwise(self.score_support, (support_text, pooled), ())
            parts["support_loss"] = self.matching_loss(support, ignored)
            loss = loss + self.support_weight * parts["support_loss"]
        return loss, parts, head_state

    def score_support(self, rows: tuple[Array, Array], columns: tuple[()]) -> Float[Array, "Bt Bv"]:
        """Compute the cosines of support texts, or of the texts themselves, with the pooled videos."""
        support_text, pooled = rows
        return jnp.einsum("td,tvd->tv", unit(support_text), unit(pooled))

    def score_own_support(self, rows: tuple[PreparedText, Array], video: PreparedVideo) -> Float[Array, "Bt Bv"]:
        """Compute the cosines of every pair's own support text t + R ∘ (v − t)/|v − t| with its pooled video v."""
        text, pooled = rows
        radius = self._pair_radius(text, video)
        return cosine(toward(text.pooled[:, None], pooled, radius), pooled)

    def _pair_radius(self, text: PreparedText, video: PreparedVideo) -> Float[Array, "Bt Bv d"]:
        return self.radius(frame_similarities(text.pooled, video.frames, video.mask), video.mask)
