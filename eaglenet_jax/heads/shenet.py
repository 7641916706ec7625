"""SHE-Net: the syntax of a caption guides attention in a video (docs/systems.md section 4, eq. 1–29 of the paper).

Yu et al., SHE-Net: Syntax-Hierarchy-Enhanced Text-Video Retrieval. There is no public code; what the paper leaves open
is listed as assumed in docs/DIFFERENCES.md. Verbs choose frames, nouns choose patches in the frames of their verb.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.temporal import TemporalTransformer
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, PairScores, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_choices
from eaglenet_jax.layers.losses import LossSettings, make_matching_loss
from eaglenet_jax.layers.selection import mean_weights, top_positions
from eaglenet_jax.layers.similarity import at_least_float32, masked_softmax, unit
from eaglenet_jax.layers.text_hierarchy import AttentionLogits, TextHierarchy, TextNodes, empty_syntax


@struct.dataclass
class PreparedVideo:
    """Prepared videos.

    Attributes:
        frames: [Bv, M, d].
        temporal: [Bv, M, d], frames after the temporal transformer.
        patches: [Bv, M, P, d].
        mask: [Bv, M], True at valid frames.
    """

    frames: Array
    temporal: Array
    patches: Array
    mask: Array


class SheNet(Head):
    """Three levels of nodes (sentence, verbs, nouns), each matched with the frames or patches that it chooses.

    Attributes:
        width: d.
        most_verbs: Verbs of a caption that are kept, the first ones.
        most_nouns: Nouns of a caption that are kept, the first ones.
        most_adjectives: Adjectives of a caption that are kept, the first ones.
        frames_per_verb: λ_frame.
        patches_per_noun: λ_patch.
        verbs: Whether the level of verbs takes part (table VI).
        nouns: Whether the level of nouns takes part (table VI).
        adjectives: Whether adjectives take part (table VI).
        text_syntax: Shape nodes by the hierarchy; else they are the words' features (table V).
        video_syntax: Nodes choose frames and patches; else each attends to all frames (table V).
        weighted_nodes: Weight nodes by the hierarchy; else equally (table VII).
        normalise: Choose and score frames and patches (eq. 13, 16, 19) by inner products of unit vectors.
        normalise_attention: Take the logits of softmaxes (eq. 4, 9, 22, 24) of unit vectors.
        attention_scale: Factor of these logits, an inverse temperature; its initial value where it is learned.
        learned_attention_scale: Learn that factor, one for each of the four softmaxes.
        logit_scale: τ.
        scale_kind: "log" for the scale exp(τ), "factor" for τ.
        loss_kind: "fixed_softmax" has that scale (eq. 27–29).
        temporal_positions: Frame positions of the transformer over frames.
        temporal_layers: Blocks of the transformer over frames.
        temporal_heads: Attention heads of the transformer over frames.

    Other attributes as in `Head`.
    """

    width: int  # type: ignore[misc]  # flax has made the fields of Head keyword-only
    most_verbs: int = 6
    most_nouns: int = 10
    most_adjectives: int = 8
    frames_per_verb: int = 2
    patches_per_noun: int = 4
    verbs: bool = True
    nouns: bool = True
    adjectives: bool = True
    text_syntax: bool = True
    video_syntax: bool = True
    weighted_nodes: bool = True
    normalise: bool = True
    normalise_attention: bool = True
    attention_scale: float = 1 / 0.07  # that of CLIP's logits at the start of its training
    learned_attention_scale: bool = True
    logit_scale: float = 4.0
    scale_kind: str = "log"
    loss_kind: str = dataclasses.field(default="fixed_softmax", kw_only=True)
    temporal_positions: int = 77
    temporal_layers: int = 4
    temporal_heads: int = 8

    uses_words = True
    uses_patches = True
    # No program is public: "released" does as the other systems' programs. "paper": eq. 4 to 28 as printed.
    presets: ClassVar = {
        **Head.presets,
        "paper": {
            "normalise": False,
            "normalise_attention": False,
            "attention_scale": 1.0,
            "learned_attention_scale": False,
            "scale_kind": "factor",
        },
    }
    bounds: ClassVar = {
        **Head.bounds,
        "most_verbs": (1, math.inf),
        "most_nouns": (1, math.inf),
        "most_adjectives": (1, math.inf),
        "frames_per_verb": (1, math.inf),
        "patches_per_noun": (1, math.inf),
        "attention_scale": (1e-6, math.inf),
        "temporal_layers": (1, math.inf),
    }

    @classmethod
    def older_options(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """As `Head.older_options`: `normalise` was about attention logits as well, and these had no factor."""
        if "attention_scale" in saved:
            return {}
        normalised = saved.get("normalise", True)
        return {"normalise_attention": normalised, "attention_scale": 1.0, "learned_attention_scale": False}

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        # One position for every frame; as many heads as CLIP4Clip's transformer.
        return {"width": clip.embed_dim, "temporal_positions": frames, "temporal_heads": clip.text_heads}

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        unread, kind = super().unread_options(options), options.get("loss_kind")
        if kind != "fixed_softmax":
            reason = f"it belongs to the scale of the fixed_softmax loss, and loss_kind is {kind!r}"
            unread |= dict.fromkeys(("logit_scale", "scale_kind"), reason)
        return unread

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        check_choices(self, scale_kind=("log", "factor"))
        if self.nouns and not self.verbs:
            raise ValueError("SheNet.nouns is on and SheNet.verbs off; switch verbs on, nouns use their frames")
        self.matching_loss = self.make_matching_loss()
        self.hierarchy = TextHierarchy(
            self.width,
            self.nouns,
            self.adjectives,
            self.text_syntax,
            self.weighted_nodes,
            self._logits,
            self.dtype,
        )
        self.frame_factor = self._logits.factor(self, "frame_log_scale")
        if self.verbs and self.video_syntax:
            self.transformer = TemporalTransformer(
                self.width, self.temporal_positions, self.temporal_layers, self.temporal_heads
            )

    @property
    def _key(self) -> Callable[[Array], Array]:
        return unit if self.normalise else at_least_float32

    @property
    def _logits(self) -> AttentionLogits:
        return AttentionLogits(self.normalise_attention, self.attention_scale, self.learned_attention_scale)

    def text_extra(self, texts: int) -> dict[str, Any]:
        """Return the syntax of captions without words."""
        return {"syntax": empty_syntax(texts, self.most_verbs, self.most_nouns, self.most_adjectives)}

    def prepare_text(self, text: TextFeatures) -> TextNodes:
        """Compute nodes and weights.

        Raises:
            UserError: The captions come without their syntax.
        """
        if "syntax" not in text.extra:
            raise UserError(
                "SHE-Net needs the captions' syntax, TextFeatures.extra['syntax']; python -m data_prep.syntax parses "
                "the captions of a prepared dataset"
            )
        assert text.words is not None  # uses_words
        nodes: TextNodes = self.hierarchy(text.pooled, text.words, text.extra["syntax"])
        return nodes

    def prepare_video(self, video: VideoFeatures) -> PreparedVideo:
        """Compute frames, frames after the temporal transformer (eq. 12), and patches."""
        assert video.patches is not None  # uses_patches
        mask = self.valid_frames(video)
        frames = jnp.where(mask[..., None], video.frames, 0)
        temporal = self.transformer(frames, mask) if self.verbs and self.video_syntax else frames
        frames, temporal, patches = (at_least_float32(x) for x in (frames, temporal, video.patches))
        return PreparedVideo(frames, temporal, patches, mask)

    def score(self, text: TextNodes, video: PreparedVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Average the scores of the levels that a caption has, eq. 19–26.

        Returns:
            Similarities [Bt, Bv]; in aux, if nodes choose frames: "verb_frames" [Bt, Bv, V, M], "frame_weights" [Bt,
            Bv, M], their mean by the weights of the verbs, and "noun_patches" [Bt, Bv, N, M, P].
        """
        pooled = self._attended(text.whole[:, None], video)
        total = self._matched(text.whole[:, None], pooled)[..., 0]
        levels, chosen = jnp.ones(total.shape[0], total.dtype), {}
        if self.verbs:
            if self.video_syntax:
                frames, frame_weights = self._frames(text, video)
                pooled = jnp.einsum("tvnkm,vmd->tvnd", frame_weights, video.temporal)  # eq. 14
                chosen["verb_frames"] = jnp.sum(frame_weights, axis=3)
                chosen["frame_weights"] = jnp.einsum("tn,tvnm->tvm", text.verb_weights, chosen["verb_frames"])
            else:
                pooled = self._attended(text.verbs, video)
            total += jnp.sum(text.verb_weights[:, None] * self._matched(text.verbs, pooled), axis=-1)
            levels += 1
        if self.nouns:
            if self.video_syntax:
                chosen["noun_patches"] = self._patches(text, video, frames, frame_weights)
                pooled = jnp.einsum("tvnmp,vmpd->tvnd", chosen["noun_patches"], video.patches)  # eq. 17, 18
            else:
                pooled = self._attended(text.nouns, video)
            total += jnp.sum(text.noun_weights[:, None] * self._matched(text.nouns, pooled), axis=-1)
            levels += jnp.any(text.noun_weights > 0, axis=-1)
        return PairScores(total / levels[:, None], chosen if aux else {})

    def _matched(self, nodes: Float[Array, "Bt n d"], pooled: Float[Array, "Bt Bv n d"]) -> Float[Array, "Bt Bv n"]:
        """Match nodes with their pooled frames or patches, eq. 19."""
        return jnp.sum(self._key(nodes)[:, None] * self._key(pooled), axis=-1)

    def _attended(self, nodes: Float[Array, "Bt n d"], video: PreparedVideo) -> Float[Array, "Bt Bv n d"]:
        """Pool the frames by attention from nodes, eq. 9 and 10."""
        fit = jnp.einsum("tnd,vmd->tvnm", self._logits.key(nodes), self._logits.key(video.frames))
        weights = masked_softmax(self.frame_factor * fit, video.mask[None, :, None])
        return jnp.einsum("tvnm,vmd->tvnd", weights, video.frames)

    def _frames(self, text: TextNodes, video: PreparedVideo) -> tuple[Array, Float[Array, "Bt Bv V k M"]]:
        """Choose the frames of every verb, eq. 13: positions [Bt, Bv, V, k] and weights. k ≤ λ_frame."""
        fit = jnp.einsum("tnd,vmd->tvnm", self._key(text.verbs), self._key(video.temporal))
        positions, real = top_positions(fit, self.frames_per_verb, video.mask[None, :, None])
        return positions, mean_weights(positions, real, fit.shape[-1], fit.dtype)

    def _patches(
        self, text: TextNodes, video: PreparedVideo, frames: Array, frame_weights: Float[Array, "Bt Bv V k M"]
    ) -> Float[Array, "Bt Bv N M P"]:
        """Compute the weights of the patches of every noun in the frames of its verb, eq. 16."""

        def of_verb(values: Array, verb: Array) -> Array:
            return values[:, verb]

        frames, frame_weights = (jax.vmap(of_verb)(values, text.noun_verb) for values in (frames, frame_weights))
        fit = jnp.einsum("tnd,vmpd->tvnmp", self._key(text.nouns), self._key(video.patches))
        fit = jnp.take_along_axis(fit, frames[..., None], axis=3)  # [Bt, Bv, N, k, P]
        every_patch: Bool[Array, ""] = jnp.ones((), bool)
        positions, real = top_positions(fit, self.patches_per_noun, every_patch)
        weights = jnp.sum(mean_weights(positions, real, fit.shape[-1], fit.dtype), axis=-2)
        return jnp.einsum("tvnkm,tvnkp->tvnmp", frame_weights, weights)

    def make_matching_loss(self) -> nn.Module:
        """Build the symmetric softmax loss with τ, eq. 27–29, or the loss that `loss_kind` names."""
        scale = math.exp(self.logit_scale) if self.scale_kind == "log" else self.logit_scale
        if self.loss_kind == "fixed_softmax":
            return make_matching_loss(self.loss_kind, LossSettings(fixed=scale))
        return super().make_matching_loss()
