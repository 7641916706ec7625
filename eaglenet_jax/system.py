"""A retrieval system from a config: two CLIP encoders and a head. The one place that names the heads."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from eaglenet_jax.clip.config import NAMED_SIZES, ClipConfig, clip_config
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.matching import SamplerSettings
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.crosstvr import CrossTvr, TokenShape
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import Head, Pairwise, TextFeatures, VideoFeatures, whole
from eaglenet_jax.heads.shenet import SheNet
from eaglenet_jax.heads.tmass import TMass
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.query_transformer import QueryShape
from eaglenet_jax.layers.rgat import GraphShape

Params = Mapping[str, Any]


def _eaglenet(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    graph, sampler, width = options.pop("graph", {}), options.pop("sampler", {}), clip.embed_dim
    return EagleNet(width, frames, GraphShape(width, **graph), sampler=SamplerSettings(**sampler), **options)


def _clip4clip(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    del frames
    # As many positions and heads as the text tower has, from which the temporal transformer starts.
    return Clip4Clip(clip.embed_dim, temporal_positions=clip.context_length, temporal_heads=clip.text_heads, **options)


def _xpool(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    del frames
    return XPool(clip.embed_dim, **options)


def _tmass(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    del frames
    return TMass(clip.embed_dim, **options)


def _shenet(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    # Frame positions for every video; heads of the transformer as many as CLIP4Clip's has.
    return SheNet(clip.embed_dim, temporal_positions=frames, temporal_heads=clip.text_heads, **options)


def _crosstvr(clip: ClipConfig, frames: int, options: dict[str, Any]) -> Head:
    first, tokens, shape = options.pop("first"), options.pop("tokens"), options.pop("transformer", {})
    seen = TokenShape(clip.patches + 1, clip.embed_dim)
    if tokens["source"]:
        seen = TokenShape(tokens["count"], tokens["width"], shared=False)
    return CrossTvr(HEADS[first["system"]](clip, frames, first["head"]), frames, seen, QueryShape(**shape), **options)


# Builders of heads, from the CLIP's sizes, M and the config's options.
HEADS: dict[str, Callable[[ClipConfig, int, dict[str, Any]], Head]] = {
    "clip4clip": _clip4clip,
    "xpool": _xpool,
    "tmass": _tmass,
    "eaglenet": _eaglenet,
    "shenet": _shenet,
    "crosstvr": _crosstvr,
}


@dataclasses.dataclass(frozen=True)
class System:
    """Encoders and head. Parameters are {"clip": …, "head": …}; nothing is kept here.

    clip: the encoders. head: one of heads/. max_words: L, token ids a caption. max_frames: M, frames a video.
    """

    clip: Clip
    head: Head
    max_words: int
    max_frames: int

    def encode_text(
        self,
        params: Params,
        text_id: UInt32[Array, " B"],
        tokens: Int[Array, "B L"],
        extra: Mapping[str, Any] | None = None,
    ) -> TextFeatures:
        """Captions as token ids (start, words, end, zeros) → features.

        extra: what the head needs, `Head.text_extra`.
        """
        pooled, words = self.clip.apply(
            {"params": params["clip"]}, tokens, words=self.head.uses_words, method="encode_text"
        )
        end = jnp.argmax(tokens, axis=-1)  # the end token has the largest id of the row
        return TextFeatures(text_id, pooled, words, jnp.arange(tokens.shape[1]) <= end[:, None], dict(extra or {}))

    def encode_video(
        self,
        params: Params,
        video_id: UInt32[Array, " B"],
        frames: Array,
        frame_mask: Bool[Array, "B M"],
        extra: Mapping[str, Any] | None = None,
    ) -> VideoFeatures:
        """Frames [B, M, H, W, 3] (uint8 RGB, or floats that are normalised already) → features.

        extra: what the head needs, `Head.video_extra`.
        """
        features, patches = self.clip.apply(
            {"params": params["clip"]}, frames, frame_mask, patches=self.head.uses_patches, method="encode_video"
        )
        return VideoFeatures(video_id, features, patches, frame_mask, dict(extra or {}))

    def encode(self, params: Params, batch: Mapping[str, Any]) -> tuple[TextFeatures, VideoFeatures]:
        """Features of a batch: text_id [B] uint32, tokens [B, L] int32, video_id [B] uint32, frames [B, M, H, W, 3]
        uint8, frame_mask [B, M]; where the head needs them, text_extra and video_extra.
        """
        text = self.encode_text(params, batch["text_id"], batch["tokens"], batch.get("text_extra"))
        frames = batch["frames"], batch["frame_mask"]
        return text, self.encode_video(params, batch["video_id"], *frames, batch.get("video_extra"))

    def head_loss(
        self,
        params: Params,
        features: tuple[TextFeatures, VideoFeatures],
        head_state: Any,
        draws: Draws,
        pairwise: Pairwise = whole,
    ) -> tuple[Float[Array, ""], dict[str, Array], Any]:
        """The head's training loss of matching features → (loss, its parts by name, new head_state)."""
        result = self.head.apply({"params": params["head"]}, *features, head_state, draws, pairwise, method="loss")
        return cast(tuple[Array, dict[str, Array], Any], result)

    def loss(
        self, params: Params, batch: Mapping[str, Any], head_state: Any, draws: Draws, pairwise: Pairwise = whole
    ) -> tuple[Float[Array, ""], dict[str, Array], Any]:
        """Training loss of a batch, see `encode` → (loss, its parts by name, new head_state)."""
        return self.head_loss(params, self.encode(params, batch), head_state, draws, pairwise)

    def init(self, key: PRNGKeyArray) -> Params:
        """Random parameters, float32."""
        size = self.clip.config.image_size
        ids = jnp.arange(2, dtype=jnp.uint32)
        tokens = jnp.zeros((2, self.max_words), jnp.int32)
        frames = jnp.zeros((2, self.max_frames, size, size, 3), jnp.uint8)
        mask = jnp.ones((2, self.max_frames), bool)
        clip_key, head_key = jax.random.split(key)
        clip = self.clip.init(clip_key, tokens, frames, mask)["params"]
        text = jax.eval_shape(self.encode_text, {"clip": clip}, ids, tokens, self.head.text_extra(2))
        video = jax.eval_shape(self.encode_video, {"clip": clip}, ids, frames, mask, self.head.video_extra(2))
        text, video = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), (text, video))
        # The loss runs through every part of the head, the parts that scoring alone never meets included.
        state = self.head.initial_state()
        head = self.head.init(head_key, text, video, state, Draws(head_key, train=True), whole, method="loss")
        return {"clip": clip, "head": head.get("params", {})}


def build_clip_config(options: Mapping[str, Any]) -> ClipConfig:
    """`config.clip`: a size of `NAMED_SIZES` by `name`, or every field; fields beside a name change it."""
    fields = {key: value for key, value in options.items() if key != "name"}
    name = options.get("name", "")
    return clip_config(name, **fields) if name else ClipConfig(**fields)


def build_system(config: Mapping[str, Any]) -> System:
    """The system that a config describes: `system`, `clip`, `head`, `max_words`, `max_frames`."""
    name = config["system"]
    if name not in HEADS:
        close = difflib.get_close_matches(name, HEADS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(HEADS)}"
        raise UserError(f"config.system: no system is named {name!r}; {hint}")
    clip = build_clip_config(config["clip"])
    if config["max_words"] > clip.context_length:
        raise UserError(
            f"config.max_words is {config['max_words']}, this CLIP reads at most {clip.context_length} tokens"
        )
    head = HEADS[name](clip, config["max_frames"], _plain(config["head"]))
    return System(Clip(clip), head, config["max_words"], config["max_frames"])


def _plain(options: Any) -> Any:
    return {key: _plain(value) if hasattr(value, "items") else value for key, value in options.items()}


def parameter_count(params: Params) -> int:
    """Number of scalars in a parameter tree (of arrays or of shapes)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


__all__ = ["HEADS", "NAMED_SIZES", "System", "build_clip_config", "build_system", "parameter_count"]
