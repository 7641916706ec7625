"""TS2-Net: few tokens of every frame attend to each other along time (docs/systems.md section 6).

Liu et al., TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval, ECCV 2022. The token shift is
inside CLIP (clip/token_shift.py); here are the selection of tokens, the temporal transformer and the similarity.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.layers import exact_gelu, layer_norm
from eaglenet_jax.clip.temporal import TemporalTransformer, from_text_tower
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, PairScores, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_choices, head_fields
from eaglenet_jax.layers.perturbed_maximum import GRADIENTS, perturbed_top_indicators, top_indicators
from eaglenet_jax.layers.similarity import at_least_float32, masked_softmax, unit

SMALL_STD = 0.02  # of the initial score network, and of positions that CLIP's text tower lacks
TEMPORAL_EPSILON = 1e-12  # of the temporal transformer's layer normalisations
SHARPNESS = 4.0  # of the weights of the frames


@struct.dataclass
class PreparedVideo:
    """Prepared videos.

    Attributes:
        frames: [Bv, M, d], unit vectors of the frames after the temporal transformer.
        mask: [Bv, M], True at frames that count.
    """

    frames: Array
    mask: Array


class TokenScores(nn.Module):
    """Importance of every token of a frame, from the token and the class token.

    Attributes:
        width: d.
        dtype: Compute type.
    """

    width: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, tokens: Float[Array, "B M T d"]) -> Float[Array, "B M T"]:
        """Compute the scores, in (−1, 1).

        Args:
            tokens: Projected tokens, class token first.
        """
        dtype = tokens.dtype if self.dtype is None else self.dtype

        def linear(width: int, name: str) -> nn.Dense:
            start = nn.initializers.normal(SMALL_STD)
            return nn.Dense(width, use_bias=False, kernel_init=start, dtype=dtype, name=name)

        half = self.width // 2
        local = exact_gelu(linear(half, "up")(layer_norm(dtype, "norm")(tokens)))
        # W2 of [u_i ; u_0] in two parts: that of the class token is the same for all tokens of a frame.
        both = linear(half, "local")(local) + linear(half, "whole")(local[..., :1, :])
        return jnp.tanh(at_least_float32(linear(1, "score")(exact_gelu(both))[..., 0]))


class Ts2Net(Head):
    """Class token and K selected patches of every frame, a transformer over all of them, weighted frame cosines.

    Attributes:
        width: d.
        selected: K, patches of a frame that are selected.
        samples: n, draws of the perturbed selection.
        sigma: σ, standard deviation of its noise.
        selection_gradient: Gradient of the selection by the scores, one of `layers.perturbed_maximum.GRADIENTS`.
        evaluation_noise: Select with noise in evaluation too, drawn once for a video; else the K highest scores.
        tiled_mask: The mask of the frames in the wrong order, token p has that of frame p mod M (section 6.3).
        temporal_positions: Learned positions of the tokens in the transformer.
        temporal_layers: Blocks of the transformer.
        temporal_heads: Attention heads of the transformer.

    Other attributes as in `Head`.
    """

    width: int
    selected: int = 3
    samples: int = 500
    sigma: float = 0.05
    selection_gradient: str = "full"
    evaluation_noise: bool = False
    tiled_mask: bool = False
    temporal_positions: int = 77
    temporal_layers: int = 4
    temporal_heads: int = 8

    uses_patches = True
    # The program masks padding frames, in the wrong order. The paper's text is not at hand: "paper" is "ours".
    presets: ClassVar = {
        "released": {
            "mask_repeated_videos": False,
            "selection_gradient": "diagonal",
            "evaluation_noise": True,
            "tiled_mask": True,
        }
    }
    bounds: ClassVar = {
        **Head.bounds,
        "selected": (1, math.inf),
        "samples": (1, math.inf),
        "sigma": (1e-6, math.inf),
        "temporal_layers": (1, math.inf),
    }

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        # The temporal transformer starts from the text tower; `from_config` adds the positions that are missing.
        del frames
        return {
            "width": clip.embed_dim,
            "temporal_positions": clip.context_length,
            "temporal_heads": clip.text_heads,
        }

    @classmethod
    def from_config(cls, options: Mapping[str, Any], clip: ClipConfig, frames: int) -> Ts2Net:
        """Build the head, with a position for every token.

        Raises:
            UserError: An option is unknown or has an invalid value, or more patches are selected than there are.
        """
        fields = head_fields(cls, options, cls.options(), cls.decided_fields(clip, frames))
        selected = fields.get("selected", cls.selected)
        if selected > clip.patches:
            raise UserError(f"config.head.selected is {selected}; a frame has {clip.patches} patches, give no more")
        positions = max(fields["temporal_positions"], (selected + 1) * frames)
        return cls(**{**fields, "temporal_positions": positions})

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        unread = super().unread_options(options)
        if not options.get("mask_padding", True):
            unread["tiled_mask"] = "mask_padding is off, so all frames count"
        return unread

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        check_choices(self, selection_gradient=GRADIENTS)
        self.selector = TokenScores(self.width, self.dtype)
        self.transformer = TemporalTransformer(
            self.width,
            self.temporal_positions,
            self.temporal_layers,
            self.temporal_heads,
            TEMPORAL_EPSILON,
            SMALL_STD,
        )
        self.matching_loss = self.make_matching_loss()

    def start_from_clip(
        self, params: Mapping[str, Any], clip: Mapping[str, Any], logit_scale: Any = None
    ) -> dict[str, Any]:
        """Initialise the transformer from the first blocks and the positions of the text tower."""
        params = super().start_from_clip(params, clip, logit_scale)
        return {**params, "transformer": from_text_tower(params["transformer"], clip["text"])}

    def noisy_videos(self) -> bool:
        """Return whether the selection is drawn in evaluation."""
        return self.evaluation_noise

    def selection(self, video: VideoFeatures, draws: Draws) -> tuple[Float[Array, "B M T"], Float[Array, "B M K P"]]:
        """Score the tokens of every frame and select patches.

        Args:
            video: Features with patches.
            draws: Noise of the video.

        Returns:
            The scores of all tokens, class token first (its own is not used), and Y, each row of which weights the
            patches of a frame and sums to 1.
        """
        assert video.patches is not None  # uses_patches
        scores: Array = self.selector(jnp.concatenate([video.frames[:, :, None], video.patches], axis=2))
        if not (draws.train or self.evaluation_noise):
            return scores, top_indicators(scores[..., 1:], self.selected)

        def of_frame(frame: tuple[Array, Array]) -> Array:
            index, scores = frame
            noise = draws.fold(index).normal("selection", (video.id,), (self.samples, scores.shape[-1]))
            return perturbed_top_indicators(scores, noise, self.selected, self.sigma, self.selection_gradient)

        # One frame of all videos at a time: the draws are 500 times as many as the scores. The full gradient needs
        # them again, and draws them again.
        run = jax.checkpoint(of_frame) if self.selection_gradient == "full" else of_frame
        by_frame = jnp.moveaxis(scores[..., 1:], 1, 0)
        return scores, jnp.moveaxis(jax.lax.map(run, (jnp.arange(len(by_frame)), by_frame)), 0, 1)

    def reduce_video(self, video: VideoFeatures, draws: Draws) -> VideoFeatures:
        """Replace the patches by the selected ones, extra["selected"] [B, M, K, d]."""
        if "selected" in video.extra:
            return video
        _, weights = self.selection(video, draws)
        patches = jnp.asarray(video.patches)
        selected = jnp.einsum("bmkp,bmpd->bmkd", weights, at_least_float32(patches)).astype(patches.dtype)
        return dataclasses.replace(video, patches=None, extra={**video.extra, "selected": selected})

    def frame_states(self, video: VideoFeatures) -> tuple[Float[Array, "B M d"], Bool[Array, "B M"]]:
        """Run the temporal transformer over the tokens of all frames.

        Args:
            video: Features from `reduce_video`.

        Returns:
            v, the class tokens after it, and which of them count.

        Raises:
            UserError: The patches are not selected yet, which needs draws.
        """
        if "selected" not in video.extra:
            if self.evaluation_noise:
                raise UserError(
                    "TS2-Net with evaluation_noise draws noise for every video; give prepare_video the features that "
                    "reduce_video(features, draws) returns"
                )
            video = self.reduce_video(video, Draws(jax.random.key(0)))  # draws nothing
        mask = self.valid_frames(video)
        tokens = jnp.concatenate([video.frames[:, :, None], video.extra["selected"]], axis=2)
        each = tokens.shape[2]
        token_mask = jnp.tile(mask, (1, each)) if self.tiled_mask else jnp.repeat(mask, each, axis=1)
        states = self.transformer(tokens.reshape(len(tokens), -1, tokens.shape[-1]), token_mask)
        return states[:, ::each], token_mask[:, ::each]

    def prepare_text(self, text: TextFeatures) -> Array:
        """Normalise the text features to unit length, [Bt, d]."""
        return unit(text.pooled)

    def prepare_video(self, video: VideoFeatures) -> PreparedVideo:
        """Compute the unit vectors of the frames after the temporal transformer."""
        states, mask = self.frame_states(video)
        return PreparedVideo(unit(states), mask)

    def score(self, text: Array, video: PreparedVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Average the cosines of the frames, weighted by themselves.

        Returns:
            Similarities [Bt, Bv]; in aux the weights, "frame_weights" [Bt, Bv, M].
        """
        cosines = jnp.where(video.mask, jnp.einsum("td,vmd->tvm", text, video.frames), 0)
        weights = masked_softmax(SHARPNESS * unit(cosines), video.mask)
        return PairScores(jnp.sum(weights * cosines, axis=-1), {"frame_weights": weights} if aux else {})
