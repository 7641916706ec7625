"""A retrieval system from a config: two CLIP encoders and a head."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from eaglenet_jax.clip.config import NAMED_SIZES, ClipConfig, clip_config
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.clip.parameters import clip_shapes, initial_clip
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, Pairwise, TextFeatures, VideoFeatures, whole
from eaglenet_jax.registry import head_class

Params = Mapping[str, Any]
NEEDED_FIELDS = ("system", "clip", "head", "max_words", "max_frames")  # of the config of a system


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
        """Random parameters, float32: {"clip": …, "head": …}. Compiled, since running it line by line takes minutes.

        Args:
            key: A PRNG key.
        """
        return {"clip": _init_clip(self.clip, key), "head": self.init_head(key)}

    def init_head(self, key: PRNGKeyArray) -> Params:
        """Random parameters of the head alone, the same as those of `init`.

        Args:
            key: A PRNG key.
        """
        return _init_head(self, key)

    def shapes(self) -> dict[str, Any]:
        """Shapes of the parameters of `init`, a tree of `jax.ShapeDtypeStruct`; traced once for equal systems."""
        head = _head_shapes(self, jax.config.read("jax_enable_x64"))
        return {"clip": clip_shapes(self.clip), "head": jax.tree.map(lambda leaf: leaf, head)}

    def feature_shapes(self, count: int) -> tuple[TextFeatures, VideoFeatures]:
        """Return the shapes of features; nothing is computed or traced.

        Args:
            count: Captions, and as many videos.

        Returns:
            Features with a `jax.ShapeDtypeStruct` as every leaf.
        """
        config, shape = self.clip.config, jax.ShapeDtypeStruct
        rows, d, frames = (count,), config.embed_dim, (count, self.max_frames)
        words = shape((*rows, self.max_words, d), config.dtype) if self.head.uses_words else None
        patches = shape((*frames, config.patches, d), config.dtype) if self.head.uses_patches else None
        extra = jax.eval_shape(lambda: (self.head.text_extra(count), self.head.video_extra(count)))
        text_mask, frame_mask = shape((*rows, self.max_words), jnp.bool_), shape(frames, jnp.bool_)
        ids = shape(rows, jnp.uint32)
        return (
            TextFeatures(ids, shape((*rows, d), config.dtype), words, text_mask, extra[0]),
            VideoFeatures(ids, shape((*frames, d), config.dtype), patches, frame_mask, extra[1]),
        )


@dataclasses.dataclass(frozen=True)
class OnFeatures:
    """A system whose batches hold features, to train its head alone; `make_train_step` takes it as it takes a `System`.

    The parameters are those of the system, of which the CLIP's are not read.
    """

    system: System

    @staticmethod
    def batch(text: TextFeatures, video: VideoFeatures) -> dict[str, Any]:
        """Make a batch of matching features, as `encode` reads it."""
        both: dict[str, TextFeatures | VideoFeatures] = {"text": text, "video": video}
        arrays = {
            side: {name: leaf for name, leaf in vars(features).items() if name not in ("id", "extra")}
            for side, features in both.items()
        }
        ids = {f"{side}_id": features.id for side, features in both.items()}
        extra = {f"{side}_extra": features.extra for side, features in both.items() if features.extra}
        return {**ids, **arrays, **extra}

    @property
    def head(self) -> Head:
        """The head."""
        return self.system.head

    def init(self, key: PRNGKeyArray) -> Params:
        """Random parameters, see `System.init`."""
        return self.system.init(key)

    def encode(self, params: Params, batch: Mapping[str, Any]) -> tuple[TextFeatures, VideoFeatures]:
        """Put the features of a batch together.

        Args:
            params: Not read.
            batch: text_id [B] and video_id [B] uint32; "text": pooled [B, d], mask [B, L] and words [B, L, d] where the
                head reads them; "video": frames [B, M, d], mask [B, M] and patches [B, M, P, p] where the head reads
                them; where the head needs them, text_extra and video_extra.
        """
        del params
        text = TextFeatures(**{"id": batch["text_id"], "words": None, **batch["text"]}, extra=_extra(batch, "text"))
        video = VideoFeatures(
            **{"id": batch["video_id"], "patches": None, **batch["video"]}, extra=_extra(batch, "video")
        )
        return text, video

    def head_loss(
        self,
        params: Params,
        features: tuple[TextFeatures, VideoFeatures],
        head_state: Any,
        draws: Draws,
        pairwise: Pairwise = whole,
    ) -> tuple[Float[Array, ""], dict[str, Array], Any]:
        """The head's training loss, see `System.head_loss`."""
        return self.system.head_loss(params, features, head_state, draws, pairwise)


def _extra(batch: Mapping[str, Any], side: str) -> dict[str, Any]:
    return dict(batch.get(f"{side}_extra", {}))


# Two programs: a run that starts from a trained CLIP needs the head's parameters alone, and systems share the other.
@partial(jax.jit, static_argnums=0)
def _init_clip(clip: Clip, key: PRNGKeyArray) -> Params:
    key, _ = jax.random.split(key)
    return initial_clip(clip, key)


@partial(jax.jit, static_argnums=0)
def _init_head(system: System, key: PRNGKeyArray) -> Params:
    _, key = jax.random.split(key)
    text, video = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), system.feature_shapes(2))
    # The loss runs through every part of the head, the parts that scoring alone never meets included.
    state = system.head.initial_state()
    head = system.head.init(key, text, video, state, Draws(key, train=True), whole, method="loss")
    return cast(Params, head.get("params", {}))


@lru_cache(maxsize=32)
def _head_shapes(system: System, x64: bool) -> Params:
    return jax.eval_shape(system.init_head, jax.random.key(0))


def build_clip_config(options: Mapping[str, Any]) -> ClipConfig:
    """Return the sizes that `config.clip` describes.

    Args:
        options: A size of `NAMED_SIZES` by `name` and the fields that differ from it, or every field.

    Raises:
        UserError: A field is unknown or lacks a value, or the sizes do not fit together.
    """
    if not hasattr(options, "items"):
        raise UserError(f"config.clip is {options!r}; give a mapping, such as {{'name': 'ViT-B/32'}}")
    fields = {key: value for key, value in options.items() if key != "name"}
    name = options.get("name", "")
    known = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(ClipConfig)}
    if unknown := sorted(set(fields) - set(known)):
        raise UserError(f"config.clip has no field {', '.join(unknown)}; there are: {', '.join(known)}")
    if not name and (absent := [field for field, needed in known.items() if needed and field not in fields]):
        raise UserError(f"config.clip lacks {', '.join(absent)}; give every size, or the name of one")
    return clip_config(name, **fields) if name else ClipConfig(**fields)


def build_system(config: Mapping[str, Any]) -> System:
    """Build the system that a config describes.

    Args:
        config: Has `system` (a name of the registry, or package.module:Class), `clip`, `head`, `max_words` and
            `max_frames`.

    Returns:
        Encoders and head. Nothing is computed.

    Raises:
        UserError: A field is absent, the system or an option is unknown, or a size is refused.
    """
    absent = [name for name in NEEDED_FIELDS if not hasattr(config, "items") or name not in config]
    if absent:
        raise UserError(f"the config lacks {', '.join(absent)}; eaglenet_jax.load_config gives a whole one")
    clip = build_clip_config(config["clip"])
    if not 3 <= config["max_words"] <= clip.context_length:
        raise UserError(
            f"config.max_words is {config['max_words']}; give 3 (start, a word, end) to {clip.context_length}, which "
            "is all that this CLIP reads"
        )
    if config["max_frames"] < 1:
        raise UserError(f"config.max_frames is {config['max_frames']}; give 1 or more")
    head = head_class(config["system"]).from_config(_plain(config["head"]), clip, config["max_frames"])
    return System(Clip(clip), head, config["max_words"], config["max_frames"])


def _plain(options: Any) -> Any:
    return {key: _plain(value) if hasattr(value, "items") else value for key, value in options.items()}


def parameter_count(params: Params) -> int:
    """Number of scalars in a parameter tree (of arrays or of shapes)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


__all__ = ["NAMED_SIZES", "System", "build_clip_config", "build_system", "parameter_count"]
