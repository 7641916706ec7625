"""CrossTVR: rescores the few candidates of a first stage by attention to patches (docs/systems.md section 4).

Dai et al., Fine-grained Text-Video Retrieval with Frozen Image Encoders (eq. 1–7). There is no public code; what the
paper leaves open is listed as assumed in docs/DIFFERENCES.md. The first stage is any other head, trained before and
kept fixed; its scores choose candidates and negatives.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.features import TokenShape
from eaglenet_jax.heads.interface import CandidateScorer, Head, PairScores, Pairwise, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_known, head_fields
from eaglenet_jax.layers.negatives import drawn_negatives
from eaglenet_jax.layers.query_transformer import (
    Dropout,
    QueryShape,
    QueryTransformer,
    Tokens,
    bert_norm,
    small_start,
)
from eaglenet_jax.layers.selection import top_positions
from eaglenet_jax.layers.similarity import at_least_float32
from eaglenet_jax.registry import head_class

Rows = tuple[Int[Array, " N"], Int[Array, " N"]]
DEFAULT_FIRST = "clip4clip"  # the head of the first stage unless the config names one


@struct.dataclass
class MatchText:
    """Prepared captions.

    Attributes:
        id: [Bt].
        words: [Bt, L, w].
        mask: [Bt, L].
    """

    id: Array
    words: Array
    mask: Array


@struct.dataclass
class MatchVideo:
    """Prepared videos.

    Attributes:
        id: [Bv].
        tokens: [Bv, M, n, e].
        selected: [Bv, M, k, e], the most important tokens of every frame.
        importance: [Bv, M, k], logarithms of the importance of the selected tokens.
        mask: [Bv, M].
    """

    id: Array
    tokens: Array
    selected: Array
    importance: Array
    mask: Array


def _all_pairs(counts: tuple[int, int]) -> Rows:
    """Return the rows of all pairs of some texts and some videos."""
    return jnp.repeat(jnp.arange(counts[0]), counts[1]), jnp.tile(jnp.arange(counts[1]), counts[0])


def _settings(head: Head) -> dict[str, Any]:
    """Return the fields of a head by name, without flax's own and the compute type."""
    ours = {field.name for field in dataclasses.fields(head)} - {"parent", "name", "dtype"}
    return {name: getattr(head, name) for name in sorted(ours)}


class CrossTvr(Head):
    """Queries and words attend to each frame's tokens, then the frames' queries to the selected tokens of all frames.

    Attributes:
        first: The head of the first stage.
        frames: M.
        tokens: Tokens of a frame.
        transformer: Sizes of the query transformer.
        queries: N_Q.
        selected: Tokens of each frame that are kept for the temporal attention.
        spatial: Attend to the tokens of each frame (table 6).
        temporal: Attend to the selected tokens of all frames (table 6).
        shared_weights: Both attentions have the same weights (table 9).
        negative_scale: Factor of the first stage's similarity when negatives are drawn; 0 draws uniformly.
        top_k: K, candidates that are rescored.
        match_weight: Factor of P(match) in the sum with the first stage's similarity, 1 in the paper. Training does not
            read it, but for the evaluations that choose a checkpoint.
        blip2: Folder of a BLIP-2 checkpoint whose query transformer is the start (port/blip2.py), "" for a random
            start.

    Other attributes as in `Head`.
    """

    first: Head
    frames: int
    tokens: TokenShape = TokenShape()
    transformer: QueryShape = QueryShape()
    queries: int = 32
    selected: int = 4
    spatial: bool = True
    temporal: bool = True
    shared_weights: bool = True
    negative_scale: float = 100.0
    top_k: int = 15
    match_weight: float = 1.0
    blip2: str = ""

    uses_words = True
    bounds: ClassVar = {
        "queries": (1, math.inf),
        "selected": (1, math.inf),
        "top_k": (1, math.inf),
        "negative_scale": (0, math.inf),
        "match_weight": (0, math.inf),
        "transformer.layers": (1, math.inf),
        "transformer.heads": (1, math.inf),
        "transformer.cross_every": (1, math.inf),
    }
    first_system = DEFAULT_FIRST
    frozen_by_first_stage = "(clip|head/first)/.*"
    not_options = frozenset({"loss_kind", "initial_logit_scale", "initial_log_scale", "initial_bias"})

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        return {"frames": frames, "first": None}

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the options with their defaults; "first" names the first stage's head and holds its options."""
        first = {"system": DEFAULT_FIRST, "head": head_class(DEFAULT_FIRST).options()}
        return {"first": first, **super().options()}

    @classmethod
    def options_on(cls, first_system: str, first_options: Mapping[str, Any]) -> dict[str, Any]:
        return {"first": {"system": first_system, "head": {**first_options}}}

    @classmethod
    def own_encoder_options(cls, source: str, count: int, width: int) -> dict[str, Any]:
        return {"tokens": {"source": source, "count": count, "width": width}}

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        first, unread = options.get("first", {}), {}
        if first:
            of_first = head_class(first["system"]).unread_options(first["head"])
            unread = {f"first.head.{name}": reason for name, reason in of_first.items()}
        if not options.get("tokens", {}).get("source"):
            reason = "the tokens are those of the first stage's encoder; give --config.head.tokens.source as well"
            unread |= dict.fromkeys(("tokens.count", "tokens.width"), reason)
        return unread

    @classmethod
    def from_config(cls, options: Mapping[str, Any], clip: ClipConfig, frames: int) -> CrossTvr:
        """Build both heads.

        Raises:
            UserError: An option is unknown, or sizes of tokens are given that would not be used.
        """
        options = {**options}
        first = {**cls.options()["first"], **options.pop("first", {})}
        check_known("CrossTvr", {key: {} for key in first}, {"system": "", "head": {}}, "first.")
        tokens = TokenShape(**options.pop("tokens", {}))
        if tokens.shared and (tokens.count or tokens.width):
            raise UserError("config.head.tokens: count and width describe another encoder; give its tokens.source too")
        if not tokens.shared and min(tokens.count, tokens.width) < 1:
            raise UserError("config.head.tokens: give the count and width of the tokens of tokens.source")
        tokens = TokenShape(clip.patches + 1, clip.embed_dim) if tokens.shared else tokens
        fields = head_fields(cls, options, cls.options(), {"frames": frames, "first": None, "tokens": None})
        first_head = head_class(first["system"]).from_config(first["head"], clip, frames)
        return cls(**{**fields, "first": first_head, "tokens": tokens})

    def second_encoder(self) -> str:
        """Return the encoder whose tokens the second stage attends to."""
        return self.tokens.source

    @property
    def uses_patches(self) -> bool:  # type: ignore[override]
        """Whether patches are read, by this stage or by the first."""
        return self.tokens.shared or self.first.uses_patches

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        if not (self.spatial or self.temporal):
            raise ValueError("CrossTvr.spatial and CrossTvr.temporal are both off; switch one of them on")
        width = self.transformer.width
        start = small_start(width)
        self.query_tokens = self.param("query_tokens", start, (self.queries, width))
        self.word_projection = nn.Dense(width, kernel_init=start, dtype=self.dtype)
        self.embedding_norm = bert_norm("embedding_norm")
        self.layers = QueryTransformer(self.transformer, self.dtype)
        if self.spatial and self.temporal and not self.shared_weights:
            self.temporal_layers = QueryTransformer(self.transformer, self.dtype)
        if self.temporal:
            self.selector_up = nn.Dense(self.tokens.width, kernel_init=start, dtype=self.dtype)
            self.selector_down = nn.Dense(1, kernel_init=start, dtype=self.dtype)
        self.classifier = nn.Dense(2, kernel_init=start)

    def text_extra(self, texts: int) -> dict[str, Any]:
        """Return what the first stage needs."""
        return self.first.text_extra(texts)

    def video_extra(self, videos: int) -> dict[str, Any]:
        """Return the tokens of another encoder, and what the first stage needs."""
        extra = self.first.video_extra(videos)
        if not self.tokens.shared:
            shape = (videos, self.frames, self.tokens.count, self.tokens.width)
            extra["tokens"] = np.zeros(shape, np.float16)
        return extra

    def noisy_videos(self) -> bool:
        """Return whether the first stage draws noise for the videos in evaluation."""
        return self.first.noisy_videos()

    def reduce_video(self, video: VideoFeatures, draws: Draws) -> VideoFeatures:
        """Reduce features as the first stage does, but for patches that this stage attends to."""
        reduced = self.first.reduce_video(video, draws)
        return dataclasses.replace(reduced, patches=video.patches) if self.tokens.shared else reduced

    def candidate_scorer(self, params: Mapping[str, Any]) -> CandidateScorer | None:
        """Return the head of the first stage."""
        return CandidateScorer(self.first, params.get("first", {}), self.top_k)

    def start_from_head(
        self, params: Mapping[str, Any], head: Head, trained: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Take all parameters from another CrossTVR, or those of the first stage from a head of its kind.

        Raises:
            UserError: The first stage is of another kind or has other settings, so it would choose other candidates.
        """
        source = head.first if isinstance(head, CrossTvr) else head
        if type(source) is not type(self.first):
            raise UserError(
                f"CrossTVR's first stage is a {type(self.first).__name__}, the run that it starts from trained a "
                f"{type(source).__name__}; start from a run of the first stage"
            )
        own, theirs = _settings(self.first), _settings(source)
        if different := [f"{name} is {theirs[name]}, not {own[name]}" for name in own if theirs[name] != own[name]]:
            raise UserError(
                f"CrossTVR's first stage is not that of the run that it starts from: there {'; '.join(different)}; set "
                "config.head.first.head to the run's values"
            )
        if isinstance(head, CrossTvr):
            return super().start_from_head(params, head, trained)
        first = {name: trained.get(name, start) for name, start in params.get("first", {}).items()}
        return {**params, "first": first} if first else dict(params)

    def start_from_files(
        self, params: Mapping[str, Any], readers: Mapping[str, Callable[..., dict[str, Any]]]
    ) -> dict[str, Any]:
        """Start the query transformer from a BLIP-2 checkpoint, if `blip2` names one."""
        return readers["blip2"](params, self.transformer, self.blip2) if self.blip2 else dict(params)

    def prepare_text(self, text: TextFeatures) -> MatchText:
        """Project the word states to the width of the queries."""
        assert text.words is not None  # uses_words
        words = jax.lax.stop_gradient(at_least_float32(text.words))  # the encoders are frozen
        return MatchText(text.id, at_least_float32(self.word_projection(words)), text.mask)

    def prepare_video(self, video: VideoFeatures) -> MatchVideo:
        """Select the most important tokens of every frame (eq. 4).

        Raises:
            UserError: The tokens of another encoder are missing.
        """
        if self.tokens.shared:
            assert video.patches is not None  # uses_patches
            tokens = jnp.concatenate([video.frames[:, :, None], video.patches], axis=2)
        elif "tokens" in video.extra:
            tokens = video.extra["tokens"]
        else:
            raise UserError(
                "CrossTVR needs the tokens of its own vision encoder, VideoFeatures.extra['tokens']; "
                "python -m eaglenet_jax.vision_tokens computes them for a prepared dataset"
            )
        mask = self.valid_frames(video)
        tokens = jnp.where(mask[..., None, None], jax.lax.stop_gradient(at_least_float32(tokens)), 0)
        if not self.temporal:
            return MatchVideo(video.id, tokens, tokens[:, :, :0], tokens[:, :, :0, 0], mask)
        hidden = jax.nn.gelu(self.selector_up(tokens), approximate=False)
        importance = jax.nn.log_softmax(at_least_float32(self.selector_down(hidden))[..., 0], axis=-1)
        positions, _ = top_positions(importance, self.selected, jnp.ones((), bool))
        chosen = jnp.take_along_axis(importance, positions, axis=-1)
        return MatchVideo(video.id, tokens, jnp.take_along_axis(tokens, positions[..., None], axis=2), chosen, mask)

    def match_logits(
        self, text: MatchText, video: MatchVideo, draws: Draws, attended: dict[str, Array] | None = None
    ) -> Float[Array, "N 2"]:
        """Compute the logits (no match, match) of pairs, where row i of both sides is pair i. Eq. 1–3, 5 and 6.

        `attended` receives what `explain` returns, by pair.
        """
        pairs, frames = video.mask.shape

        def dropout(name: str) -> Dropout:
            return Dropout(draws, (text.id, video.id), self.transformer.dropout_rate, name)

        start = jnp.broadcast_to(self.query_tokens, (pairs, *self.query_tokens.shape))
        queries = Tokens(self.embedding_norm(start), jnp.ones(start.shape[:2], bool))
        words: Tokens | None = Tokens(self.embedding_norm(text.words), text.mask)
        if self.spatial:
            visual = Tokens(video.tokens, jnp.ones(video.tokens.shape[:-1], bool))
            queries, words = jax.tree.map(lambda x: x[:, None], (queries, words))  # the same for every frame
            spatial = queries, words, visual, dropout("spatial")
            if attended is None:
                frame_queries = self.layers(*spatial)
            else:
                frame_queries, weights = self.layers.with_weights(*spatial)
                patches = jnp.mean(weights, axis=2)[..., 1:]  # without the class token
                attended["attended_patches"] = jnp.where(video.mask[..., None], patches, 0)
            queries, words = Tokens(jnp.mean(frame_queries, axis=2), video.mask), None  # eq. 3: one query a frame
        if self.temporal:
            flat = (pairs, frames * video.selected.shape[2])
            chosen = jnp.broadcast_to(video.mask[..., None], video.importance.shape).reshape(flat)
            visual = Tokens(video.selected.reshape(*flat, -1), chosen, video.importance.reshape(flat))
            layers = self.layers if self.shared_weights or not self.spatial else self.temporal_layers
            temporal = queries, words, visual, dropout("temporal")
            if attended is None:
                states = layers(*temporal)
            else:
                states, weights = layers.with_weights(*temporal)
                of_query = weights * queries.mask[..., None] / jnp.sum(queries.mask, axis=1)[:, None, None]
                by_token = jnp.sum(of_query, axis=1).reshape(video.importance.shape)
                attended["attended_frames"] = jnp.sum(by_token, axis=-1)
            queries = Tokens(states, queries.mask)
        share = queries.mask / jnp.maximum(jnp.sum(queries.mask, axis=1, keepdims=True), 1)
        return self.classifier(jnp.einsum("nq,nqw->nw", share.astype(queries.states.dtype), queries.states))

    def match_rows(
        self, rows: Rows, sides: tuple[MatchText, MatchVideo], draws: Draws, attended: dict[str, Array] | None = None
    ) -> Float[Array, "N 2"]:
        """Compute `match_logits` of pairs given as rows of texts and of videos."""
        text, video = (
            jax.tree.map(lambda leaf, row=row: leaf[row], side) for row, side in zip(rows, sides, strict=True)
        )
        return self.match_logits(text, video, draws, attended)

    def score(self, text: MatchText, video: MatchVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Compute `match_weight` times the probability that a pair matches, by the second stage alone."""
        counts = text.id.shape[0], video.id.shape[0]
        logits = self.match_rows(_all_pairs(counts), (text, video), draws)
        return PairScores(self.match_weight * jax.nn.softmax(logits, axis=-1)[:, 1].reshape(counts))

    def explain(self, text: TextFeatures, video: VideoFeatures, draws: Draws) -> dict[str, Array]:
        """Return where the second stage looks: frames by the temporal attention, patches by the spatial one."""
        sides = self.prepare_text(text), self.prepare_video(self.reduce_video(video, draws))
        counts, attended = (text.id.shape[0], video.id.shape[0]), dict[str, Array]()
        self.match_rows(_all_pairs(counts), sides, draws, attended)
        return {name: leaf.reshape(*counts, *leaf.shape[1:]) for name, leaf in attended.items()}

    def first_scores(self, text: Any, video: Any, draws: Draws) -> Float[Array, "Bt Bv"]:
        """Compute the similarity by the first stage."""
        return self.first.score(text, video, draws).similarity

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """Compute the cross-entropy of matching pairs and hard negatives, one for each text and one for each video."""
        evaluation = dataclasses.replace(draws, train=False)
        prepared = self.first.prepare_text(text), self.first.prepare_video(self.first.reduce_video(video, evaluation))
        similarity = jax.lax.stop_gradient(pairwise(self.first_scores, *prepared, evaluation))
        count = similarity.shape[0]
        allowed = ~jnp.eye(count, dtype=bool) & ~self.ignored_pairs(video)
        videos, texts = drawn_negatives(similarity, allowed, self.negative_scale, draws, text.id, video.id)
        index = jnp.arange(count)
        rows = jnp.concatenate([index, index, texts]), jnp.concatenate([index, videos, index])
        sides = self.prepare_text(text), self.prepare_video(video)
        logits = pairwise(self.match_rows, rows, sides, draws)
        # A text or a video without any allowed negative in the batch contributes none.
        has_pair = jnp.concatenate([index >= 0, jnp.any(allowed, axis=1), jnp.any(allowed, axis=0)])
        labels = (jnp.arange(3 * count) < count).astype(jnp.int32)
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), labels[:, None], axis=1)[:, 0]
        loss = jnp.sum(jnp.where(has_pair, nll, 0)) / jnp.sum(has_pair)
        correct = (logits[:, 1] > logits[:, 0]) == (labels == 1)
        return loss, {"match_loss": loss, "pairs_right": jnp.sum(correct & has_pair) / jnp.sum(has_pair)}, head_state
