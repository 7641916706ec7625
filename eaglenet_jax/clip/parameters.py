"""Parameters of the encoders: random ones, and their shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from eaglenet_jax.clip.model import Clip


def initial_clip(clip: Clip, key: PRNGKeyArray) -> Mapping[str, Any]:
    """Random parameters of both towers, float32.

    Args:
        clip: The encoders.
        key: A PRNG key.
    """
    size = clip.config.image_size
    tokens, frames = jnp.zeros((1, 3), jnp.int32), jnp.zeros((1, 1, size, size, 3), jnp.uint8)
    return cast(Mapping[str, Any], clip.init(key, tokens, frames, jnp.ones((1, 1), bool))["params"])


def clip_shapes(clip: Clip) -> Mapping[str, Any]:
    """Shapes of the parameters of both towers, a tree of `jax.ShapeDtypeStruct`; traced once for equal encoders."""
    # A tree of its own for each caller: the trees of dicts can be changed.
    return cast(Mapping[str, Any], jax.tree.map(lambda leaf: leaf, _traced(clip, jax.config.read("jax_enable_x64"))))


@lru_cache(maxsize=32)
def _traced(clip: Clip, x64: bool) -> Any:
    # The blocks of a tower have the same shapes, so one of each is traced: all of a ViT-B/16 take a second.
    one = Clip(dataclasses.replace(clip.config, vision_layers=1, text_layers=1, shift_blocks=()))
    shapes = dict(jax.eval_shape(lambda key: initial_clip(one, key), jax.random.key(0)))
    for tower, layers in (("vision", clip.config.vision_layers), ("text", clip.config.text_layers)):
        blocks = {f"block_{index}": shapes[tower]["block_0"] for index in range(layers)}
        shapes[tower] = {**shapes[tower], **blocks}
    return shapes
