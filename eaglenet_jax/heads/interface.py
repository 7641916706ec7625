"""Contract of a head, the only part of a retrieval system that differs from system to system.

A system is two CLIP encoders and a head. The head turns text features and frame features into a similarity matrix and
defines the loss that trains it. Everything else (steps, full-gallery scoring, metrics, checkpoints) is written once
against this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from eaglenet_jax.clip.config import NAMED_SIZES, ClipConfig
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.features import Array, PairScores, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import default_options, head_fields
from eaglenet_jax.heads.pairs import Pairwise, whole
from eaglenet_jax.layers.losses import LossSettings, make_matching_loss, repeated_video

__all__ = [
    "CandidateScorer",
    "Head",
    "PairScores",
    "Pairwise",
    "PreparedText",
    "TextFeatures",
    "VideoFeatures",
    "whole",
]


EXPLAINED = ("frame_weights", "candidate_weights", "verb_frames", "noun_patches")  # of `score`'s aux


class CandidateScorer(NamedTuple):
    """Head that chooses candidates for another head that scores few pairs.

    Attributes:
        head: The head.
        params: Its parameters.
        top_k: Number of candidates.
    """

    head: Head
    params: Mapping[str, Any]
    top_k: int


class Head(nn.Module, kw_only=True):
    """Base class of all heads. A subclass is one file and overrides these methods.

    Its dataclass fields are its options and their defaults: `config.head` of a config. Used functionally:
    `head.apply({"params": params}, ..., method="score")`.

    Attributes:
        mask_padding: Leave padding frames out; False treats them as frames of zeros.
        mask_repeated_videos: Do not treat another caption of the same video in a batch as a negative.
        loss_kind: Loss of the similarity matrix, one of `layers.losses.LOSSES`.
        initial_logit_scale: Initial logit scale of the softmax loss; a pre-trained CLIP gives its own.
        initial_log_scale: τ', initial log scale of the sigmoid loss.
        initial_bias: b, initial bias of the sigmoid loss.
        dtype: Compute type; None for float32 or the type of the features.
        uses_words: Whether it reads `TextFeatures.words`; otherwise the encoder leaves them out.
        uses_patches: Whether it reads `VideoFeatures.patches`; otherwise the encoder leaves them out.
        presets: By preset, the options that differ from the defaults.
        not_options: Fields of this class that are not options: it has no use for them, or they are not of the system.
        bounds: Smallest and largest value of an option by name, with dots for nested ones.
        first_system: System that is trained before it unless a recipe names another, "" for a head of one stage.
        frozen_by_first_stage: Patterns of the parameters that the first stage has trained, as `optimizer.freeze`.
    """

    mask_padding: bool = True
    mask_repeated_videos: bool = True
    loss_kind: str = "softmax"
    initial_logit_scale: float = 1 / 0.07
    initial_log_scale: float = 4.77
    initial_bias: float = -12.93
    dtype: DTypeLike | None = None

    uses_words: ClassVar[bool] = False
    uses_patches: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "released": {"mask_padding": False, "mask_repeated_videos": False}
    }
    not_options: ClassVar[frozenset[str]] = frozenset()
    bounds: ClassVar[Mapping[str, tuple[int | float, int | float]]] = {"initial_logit_scale": (1e-6, math.inf)}
    first_system: ClassVar[str] = ""
    frozen_by_first_stage: ClassVar[str] = ""

    # Options ---------------------------------------------------------------------------------------------------------

    @classmethod
    def older_options(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return options that a saved config is too old to have, where their defaults would compute otherwise."""
        del saved
        return {}

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        """Return the fields that the encoders decide, by name; a dict for those inside a nested dataclass.

        Args:
            clip: Sizes of the encoders.
            frames: M, frames a video.
        """
        del frames
        return {"width": clip.embed_dim}

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the options with their defaults, as JSON values."""
        return default_options(cls, cls.decided_fields(NAMED_SIZES["ViT-B/32"], 1))

    @classmethod
    def from_config(cls, options: Mapping[str, Any], clip: ClipConfig, frames: int) -> Self:
        """Build the head.

        Args:
            options: Values of options; absent ones have their defaults.
            clip: Sizes of the encoders.
            frames: M, frames a video.

        Raises:
            UserError: An option is unknown or has an invalid value.
        """
        return cls(**head_fields(cls, options, cls.options(), cls.decided_fields(clip, frames)))

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """Options that nothing reads because of the values of others.

        Args:
            options: Values of all options.

        Returns:
            The reason by name; the name of a nested dataclass stands for all options in it.
        """
        kind = options.get("loss_kind", "")
        unread: dict[str, str] = {}
        for loss, names in (
            ("softmax", ("initial_logit_scale",)),
            ("sigmoid", ("initial_log_scale", "initial_bias")),
        ):
            if kind != loss:
                unread |= dict.fromkeys(names, f"it is where the {loss} loss starts, and loss_kind is {kind!r}")
        return unread

    @classmethod
    def options_on(cls, first_system: str, first_options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that hold the head of the first stage, for a head that is trained after one.

        Args:
            first_system: The head of the first stage, a name of the registry or package.module:Class.
            first_options: All its options.

        Raises:
            UserError: The head has no first stage (default).
        """
        raise UserError(f"{cls.__name__} trains nothing first, so {first_system!r} cannot be trained before it")

    @classmethod
    def own_encoder_options(cls, source: str, count: int, width: int) -> dict[str, Any]:
        """Return the options that name a vision encoder of its own, see `second_encoder`. Default: none.

        Args:
            source: Folder or name of the encoder.
            count: Tokens of a frame.
            width: Width of a token.
        """
        del source, count, width
        return {}

    # Inputs ----------------------------------------------------------------------------------------------------------

    def text_extra(self, texts: int) -> dict[str, Any]:
        """Return the entries of `TextFeatures.extra` that the head needs, as zeros. Default: none.

        Args:
            texts: Number of captions.
        """
        del texts
        return {}

    def video_extra(self, videos: int) -> dict[str, Any]:
        """Return the entries of `VideoFeatures.extra` that the head needs, as zeros. Default: none.

        Args:
            videos: Number of videos.
        """
        del videos
        return {}

    def second_encoder(self) -> str:
        """Return folder or name of the vision encoder of `VideoFeatures.extra["tokens"]`, "" if the head reads none."""
        return ""

    # Initial parameters and state ------------------------------------------------------------------------------------

    def initial_state(self) -> Any:
        """Return the state carried from step to step (EagleNet: its replay buffer). Default: ().

        Needs no parameters.
        """
        return ()

    def state_arrays(self, state: Any) -> dict[str, Any]:
        """Return the arrays of a state that released checkpoints contain too, by name. Default: none."""
        del state
        return {}

    def state_with(self, state: Any, arrays: Mapping[str, Any]) -> Any:
        """Return a state with the arrays of `state_arrays` from a released checkpoint. Default: the state unchanged."""
        del arrays
        return state

    def unused_parameters(self) -> tuple[str, ...]:
        """Return patterns of parameters, as paths inside the head, that no output depends on. Default: none.

        They exist because the released checkpoints have them, and are never updated.
        """
        return ()

    def start_from_clip(
        self, params: Mapping[str, Any], clip: Mapping[str, Any], logit_scale: Any = None
    ) -> dict[str, Any]:
        """Return the head's initial parameters, given those of a trained CLIP.

        Args:
            params: The head's, random.
            clip: The CLIP's.
            logit_scale: The logarithm that CLIP learned, or None. A softmax loss starts from it.
        """
        del clip
        if logit_scale is None or self.loss_kind != "softmax" or "matching_loss" not in params:
            return dict(params)
        return {**params, "matching_loss": {"logit_scale": jnp.asarray(logit_scale, jnp.float32).reshape(())}}

    def start_from_head(
        self, params: Mapping[str, Any], head: Head, trained: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the initial parameters, given another head and its trained ones; None to take nothing from it.

        Default: the parts that both have, if the heads are of the same kind.

        Args:
            params: The head's, random.
            head: The other head.
            trained: The other head's parameters.
        """
        if type(head) is not type(self):
            return None
        return {name: trained.get(name, start) for name, start in params.items()}

    def start_from_files(
        self, params: Mapping[str, Any], readers: Mapping[str, Callable[..., dict[str, Any]]]
    ) -> dict[str, Any]:
        """Return the initial parameters, given readers of other programs' checkpoints. Default: unchanged.

        Args:
            params: The head's, random.
            readers: Readers by name. "blip2": reader(params, shape, folder) → params.
        """
        del readers
        return dict(params)

    def clip_logit_scale(self, params: Mapping[str, Any]) -> Any:
        """Return the logarithm of a logit scale that a CLIP checkpoint can hold, or None if the head has none."""
        return params.get("matching_loss", {}).get("logit_scale")

    # Scores and loss -------------------------------------------------------------------------------------------------

    def valid_frames(self, video: VideoFeatures) -> Array:
        """Return the frames that take part, [Bv, M] bool."""
        return video.mask if self.mask_padding else jnp.ones_like(video.mask)

    def ignored_pairs(self, video: VideoFeatures) -> Array:
        """Return the pairs of other captions of the same video in a batch, [B, B] bool, which are not negatives."""
        return repeated_video(video.id) & self.mask_repeated_videos

    def make_matching_loss(self) -> nn.Module:
        """Build the loss of a similarity matrix that the head's fields describe; called in `setup`."""
        settings = LossSettings(self.initial_logit_scale, self.initial_log_scale, self.initial_bias)
        return make_matching_loss(self.loss_kind, settings)

    def candidate_scorer(self, params: Mapping[str, Any]) -> CandidateScorer | None:
        """Return the head whose candidates this one rescores by adding its scores, or None (default).

        Args:
            params: Parameters of this head.
        """
        del params
        return None

    def with_scoring_kernel(self, kind: str) -> Head:
        """Return this head with `score` computed by a kernel in evaluation; by default a head has none.

        Args:
            kind: "none"; "triton" on an NVIDIA GPU; "interpret", what the kernel does on any device, slowly; "auto",
                the kernel where it is known to be faster, else none.

        Raises:
            UserError: The head has no kernel, or it does not compute this head or run on this device.
        """
        if kind not in ("none", "auto"):
            raise UserError(f"{type(self).__name__} has no scoring kernel: use kernel 'none', not {kind!r}")
        return self

    def noisy_videos(self) -> bool:
        """Return whether `reduce_video` draws noise in evaluation. Default: no."""
        return False

    def reduce_video(self, video: VideoFeatures, draws: Draws) -> VideoFeatures:
        """Reduce features to what `prepare_video` reads of them; reduced ones stay as they are. Default: unchanged.

        An evaluation keeps the reduced features of all its videos, so a head that makes few tokens of all patches does
        it here.

        Args:
            video: Features, one batch of those that are kept.
            draws: Noise that belongs to the video.
        """
        del draws
        return video

    def prepare_text(self, text: TextFeatures) -> Any:
        """Compute the part that needs only the texts: a pytree whose leaves have the text as leading axis."""
        return text

    def prepare_video(self, video: VideoFeatures) -> Any:
        """Compute the part that needs only the videos: a pytree whose leaves have the video as leading axis.

        Args:
            video: Features from `reduce_video`.
        """
        return video

    def score(self, text: Any, video: Any, draws: Draws, aux: bool = False) -> PairScores:
        """Score every prepared text with every prepared video, for any block of both.

        Args:
            text: From `prepare_text`, Bt rows.
            video: From `prepare_video`, Bv rows.
            draws: Noise and dropout masks.
            aux: Fill `PairScores.aux`.

        Returns:
            Similarities [Bt, Bv].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no score")

    def explain(self, text: TextFeatures, video: VideoFeatures, draws: Draws) -> dict[str, Array]:
        """Return details of every pair to display, for a few texts and videos.

        Default: what `score` has in its aux of these, if any.

        Returns:
            "frame_weights" [Bt, Bv, M], "candidate_weights" [Bt, Bv, S + 1], "energy" [Bt, Bv] (low for a match),
            "radius_length" [Bt, Bv], |R|₁ of the stochastic text; by word of the caption "verb_frames" [Bt, Bv, V, M]
            and "noun_patches" [Bt, Bv, N, M, P]; of a second stage "attended_frames" [Bt, Bv, M] and
            "attended_patches" [Bt, Bv, M, P], the attention of its queries.
        """
        prepared = self.prepare_text(text), self.prepare_video(self.reduce_video(video, draws))
        aux = self.score(*prepared, draws, aux=True).aux
        found = {name: aux[name] for name in EXPLAINED if name in aux}
        if "radius" in aux:
            found["radius_length"] = jnp.sum(jnp.abs(aux["radius"]), axis=-1)
        return found

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Compute the training loss of a batch of matching pairs: text i describes video i.

        Default: the matching loss of all similarities, for a head whose `setup` makes `self.matching_loss`.

        Args:
            text: Features of B captions.
            video: Features of their B videos.
            head_state: State carried from step to step.
            draws: Noise and dropout masks of this step.
            pairwise: Runs a method over blocks of rows, given by the training layer.

        Returns:
            The loss, its parts by name, and the new head_state.
        """
        prepared = self.prepare_text(text), self.prepare_video(self.reduce_video(video, draws))
        scores = pairwise(self.score, *prepared, draws)
        loss = self.matching_loss(scores.similarity, self.ignored_pairs(video))
        return loss, {"match_loss": loss}, head_state
