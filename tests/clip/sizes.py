"""A tiny CLIP for the tests: 17 tokens a frame, so that the shift's two sets of tokens overlap nowhere."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip import Clip, ClipConfig
from eaglenet_jax.clip.parameters import clip_shapes

TINY = ClipConfig(
    embed_dim=6,
    image_size=16,
    patch_size=4,
    vision_width=8,
    vision_layers=1,
    vision_heads=2,
    text_width=12,
    text_layers=1,
    text_heads=3,
    vocab_size=40,
    context_length=10,
    shift_blocks=(0,),
)


def tiny(**changes: Any) -> Clip:
    return Clip(dataclasses.replace(TINY, **changes))


def random_params(clip: Clip, seed: int = 0) -> Any:
    """Parameters in which nothing is zero or one, so that no part of the model can hide."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(np.float32(random.normal(0, 0.4, leaf.shape))), clip_shapes(clip))


def random_frames(batch: int, frames: int, seed: int = 1) -> jax.Array:
    size = TINY.image_size
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (batch, frames, size, size, 3), np.uint8))


@partial(jax.jit, static_argnums=(0, 4))
def encode_video(clip: Clip, params: Any, frames: Any, mask: Any, patches: bool = False) -> Any:
    return clip.apply({"params": params}, frames, mask, patches, method="encode_video")


@partial(jax.jit, static_argnums=(0, 3))
def encode_text(clip: Clip, params: Any, tokens: Any, words: bool = False) -> Any:
    return clip.apply({"params": params}, tokens, words, method="encode_text")
