"""What every head of a retrieval system takes and gives: the one contract that training and retrieval know.

A system is two CLIP encoders and a head. The head turns text features and frame features into a similarity matrix and
knows the loss that trains it. Everything else (steps, full-gallery scoring, metrics, checkpoints) is written once
against this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
from flax import struct

from eaglenet_jax.draws import Draws

Array = Any  # jax.Array, numpy array or tracer; feature dataclasses travel through vmap, eval_shape and sharding trees.


@struct.dataclass
class TextFeatures:
    """Encoded captions. The example is the leading axis of every leaf.

    id: [B] uint32, first 32 bits of BLAKE2 of the caption's id. pooled: [B, d], the end-of-text feature, not
    normalised. words: [B, L, d] projected word states, or None. mask: [B, L] bool, True at start token, words and end
    token. extra: what one system needs alone, leaves [B, ...].
    """

    id: Array
    pooled: Array
    words: Array | None
    mask: Array
    extra: dict[str, Any] = struct.field(default_factory=dict)


@struct.dataclass
class PreparedText:
    """What the heads need of a text that score pairs by its one feature. id: [Bt]. pooled: [Bt, d]."""

    id: Array
    pooled: Array


@struct.dataclass
class VideoFeatures:
    """Encoded videos. The example is the leading axis of every leaf.

    id: [B] uint32. frames: [B, M, d], class-token features, not normalised. patches: [B, M, P, p] projected patch
    states, or None. mask: [B, M] bool, True for real frames, False for padding. extra: leaves [B, ...].
    """

    id: Array
    frames: Array
    patches: Array | None
    mask: Array
    extra: dict[str, Any] = struct.field(default_factory=dict)


@struct.dataclass
class PairScores:
    """Scores of a block of texts against a block of videos.

    similarity: [Bt, Bv], in promote_types(dtype, float32). aux: leaves [Bt, Bv, ...], filled only when asked for.
    """

    similarity: Array
    aux: dict[str, Any] = struct.field(default_factory=dict)


class FirstStage(NamedTuple):
    """What chooses the candidates of a head that scores few pairs: a head, its parameters, and how many candidates."""

    head: Head
    params: Mapping[str, Any]
    top_k: int


@runtime_checkable
class Pairwise(Protocol):
    """Runs a bound head method over all rows of texts, given by the training layer.

    pairwise(method, rows, columns, *shared) → method(rows, columns, *shared), where every leaf of `rows` and of the
    result has the texts as leading axis, while `columns` (videos) and `shared` (draws) are given whole to every block
    of rows.
    """

    def __call__(self, method: Callable[..., Any], rows: Any, columns: Any, *shared: Any) -> Any: ...


def whole(method: Callable[..., Any], rows: Any, columns: Any, *shared: Any) -> Any:
    """The simplest `Pairwise`: all rows at once, in one block."""
    return method(rows, columns, *shared)


class Head(nn.Module):
    """Base of all heads. A subclass is one file and fills in these methods.

    Used functionally: head.apply({"params": params}, ..., method="score"). uses_words, uses_patches: whether it reads
    TextFeatures.words and VideoFeatures.patches; otherwise the encoders leave them out.
    """

    uses_words: ClassVar[bool] = False
    uses_patches: ClassVar[bool] = False

    def initial_state(self) -> Any:
        """What the head carries from step to step (EagleNet: its replay buffer). Needs no parameters. Default:
        nothing.
        """
        return ()

    def unused_parameters(self) -> tuple[str, ...]:
        """Patterns of parameters, as paths inside the head, that no output depends on. They are kept because the
        released
        checkpoints have them, and never updated. Default: none.
        """
        return ()

    def text_extra(self, texts: int) -> dict[str, Any]:
        """What the head needs in `TextFeatures.extra`, as zeros of that many captions. Default: nothing."""
        del texts
        return {}

    def video_extra(self, videos: int) -> dict[str, Any]:
        """What the head needs in `VideoFeatures.extra`, as zeros of that many videos. Default: nothing."""
        del videos
        return {}

    def start_from_clip(self, params: Mapping[str, Any], clip: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of the head before the first step, given those of a trained CLIP. Default: as they are."""
        del clip
        return dict(params)

    def start_from_head(
        self, params: Mapping[str, Any], head: Head, trained: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Parameters before the first step, given another head and its trained ones; None to take nothing of it.

        Default: the parts that both have, of a head of the same kind.
        """
        if type(head) is not type(self):
            return None
        return {name: trained.get(name, start) for name, start in params.items()}

    def first_stage(self, params: Mapping[str, Any]) -> FirstStage | None:
        """For a head whose scores are added to those of another on a few candidates: that other. Default: none, all
        pairs are scored. params: of this head.
        """
        del params
        return None

    def prepare_text(self, text: TextFeatures) -> Any:
        """The work that needs only the texts → a pytree whose leaves have the text as leading axis."""
        return text

    def prepare_video(self, video: VideoFeatures) -> Any:
        """The work that needs only the videos → a pytree whose leaves have the video as leading axis."""
        return video

    def score(self, text: Any, video: Any, draws: Draws, aux: bool = False) -> PairScores:
        """Similarity of every prepared text with every prepared video, [Bt, Bv], for any block of both."""
        raise NotImplementedError(f"{type(self).__name__} defines no score")

    def explain(self, text: TextFeatures, video: VideoFeatures, draws: Draws) -> dict[str, Array]:
        """What can be shown of every pair, for a few texts and videos. Default: the weights in `score`'s aux, if any.

        "frame_weights": [Bt, Bv, M], "candidate_weights": [Bt, Bv, S + 1], "energy": [Bt, Bv], low for a match.
        """
        aux = self.score(self.prepare_text(text), self.prepare_video(video), draws, aux=True).aux
        return {name: aux[name] for name in ("frame_weights", "candidate_weights") if name in aux}

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Training loss of a batch of matching pairs (text i describes video i) → (loss, its parts by name, new
        head_state).
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss")
