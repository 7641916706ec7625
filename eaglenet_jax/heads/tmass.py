"""T-MASS: a text as a cloud whose radius depends on the video (docs/systems.md sections 2.1 and 4).

Wang et al., Text Is MASS, CVPR 2024. Its first public evaluation pooled a video with its own caption, which leaks the
answer; here every text scores every video in the same way.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.layers.frame_pooling import FramePooling, PooledFrames
from eaglenet_jax.layers.similarity import unit
from eaglenet_jax.layers.stochastic_text import Radius, candidates, frame_similarities, toward


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
        samples: S, stochastic texts a pair in evaluation, of which the best counts.
        support_weight: Weight of the support loss (0.8 in the public program, 1.2 best in the paper's figure 6).
        pooling_heads: Attention heads of the frame pooling.
        pooling_dropout: Dropout of the frame pooling.

    Other attributes as in `Head`.
    """

    width: int
    samples: int = 20
    support_weight: float = 0.8
    pooling_heads: int = 1
    pooling_dropout: float = 0.3

    bounds: ClassVar = {**Head.bounds, "samples": (1, math.inf), "pooling_heads": (1, math.inf)}

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        self.radius = Radius(self.width)
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
        """Compute the best cosine of S stochastic texts of each pair with v(t, F).

        Returns:
            Similarities [Bt, Bv]; in aux "pooled" [Bt, Bv, d], "frame_weights" [Bt, Bv, M].
        """
        query = text.pooled[:, None]
        pooled = self.pooling(query, video.pooling, draws, (text.id[:, None], video.id[None]))
        radius = self.radius(frame_similarities(text.pooled, video.frames, video.mask))
        noise = draws.normal("samples", draws.pair_ids(text.id, video.id), (self.samples, self.width))
        similarity = jnp.einsum("tvsd,tvd->tvs", unit(candidates(query, radius, noise)), unit(pooled))
        best = jnp.max(similarity, axis=-1)
        if not aux:
            return PairScores(best)
        weights = jnp.mean(self.pooling.attention(query, video.pooling), axis=2)
        return PairScores(best, {"pooled": pooled, "frame_weights": weights})

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
        """Compute L(stochastic text) + w L(support text).

        There is one stochastic text a pair, whose radius comes from its own video.
        """
        prepared_text, prepared_video = self.prepare_text(text), self.prepare_video(video)
        similarities = jnp.where(
            prepared_video.mask, jnp.sum(unit(text.pooled)[:, None] * unit(video.frames), axis=-1), 0
        )
        radius = self.radius(similarities)
        stochastic = text.pooled + radius * draws.normal("stochastic_text", (text.id,), (self.width,))
        similarity, pooled = pairwise(self.score_training, (prepared_text, stochastic), prepared_video, draws)
        # The target is the mean of the pooled videos without normalising them first (unlike EagleNet's).
        support_text = toward(text.pooled, jnp.mean(pooled, axis=0), radius)
        support = pairwise(self.score_support, (support_text, pooled), ())
        ignored = self.ignored_pairs(video)
        match_loss = self.matching_loss(similarity, ignored)
        support_loss = self.matching_loss(support, ignored)
        loss = match_loss + self.support_weight * support_loss
        return loss, {"match_loss": match_loss, "support_loss": support_loss}, head_state

    def score_support(self, rows: tuple[Array, Array], columns: tuple[()]) -> Float[Array, "Bt Bv"]:
        """Compute the cosines of support texts with the pooled videos."""
        support_text, pooled = rows
        return jnp.einsum("td,tvd->tv", unit(support_text), unit(pooled))
