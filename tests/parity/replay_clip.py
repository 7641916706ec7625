"""Replay of the encoders' record: both towers, with and without token shift."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.clip_sizes import SHIFT_BLOCKS
from eaglenet_jax.port.load import clip_from_tensors
from eaglenet_jax.port.openai_clip import OPENAI_CLIP

SHIFTED = 2  # of a shallow CLIP the last two blocks


@functools.partial(jax.jit, static_argnums=0, static_argnames=("method", "words", "patches"))
def _applied(model: Clip, variables: Any, *arguments: Any, method: str, **chosen: bool) -> Any:
    return model.apply(variables, *arguments, method=method, **chosen)


def clip(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Features of captions and frames, all tokens included."""
    sizes = record["config"]
    config = ClipConfig(
        embed_dim=sizes["embed_dim"],
        image_size=sizes["image_resolution"],
        patch_size=sizes["vision_patch_size"],
        vision_width=sizes["vision_width"],
        vision_layers=sizes["vision_layers"],
        vision_heads=sizes["vision_heads"],
        text_width=sizes["transformer_width"],
        text_layers=sizes["transformer_layers"],
        text_heads=sizes["transformer_heads"],
        vocab_size=sizes["vocab_size"],
        context_length=sizes["context_length"],
        mask_padding=False,
        dtype="float64",
    )
    tensors = {name.removeprefix("param/"): value for name, value in record.items() if name.startswith("param/")}
    params, _ = clip_from_tensors(OPENAI_CLIP, tensors, config)
    variables = {"params": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params["clip"])}
    tokens = jnp.asarray(record["text_ids"], jnp.int32)
    pooled, words = _applied(Clip(config), variables, tokens, words=True, method="encode_text")
    yield "text_features", "value", pooled, record["text_features"]
    yield "text_hidden", "value", words, record["text_hidden"]

    frames = jnp.asarray(np.moveaxis(record["frames"], 2, -1), jnp.float64)
    mask = jnp.ones(frames.shape[:2], bool)
    found, patches = _applied(Clip(config), variables, frames, mask, patches=True, method="encode_video")
    yield "image_features", "value", found, record["image_features"]
    every = jnp.concatenate([found[:, :, None], patches], axis=2)
    yield "image_tokens", "value", every.reshape(record["image_tokens"].shape), record["image_tokens"]
    deep = config.vision_layers > max(SHIFT_BLOCKS)  # as the released program's
    blocks = SHIFT_BLOCKS if deep else tuple(range(config.vision_layers))[-SHIFTED:]
    shifted = Clip(dataclasses.replace(config, shift_blocks=blocks))
    found, _ = _applied(shifted, variables, frames, mask, method="encode_video")
    yield "image_features_token_shift", "value", found, record["image_features_token_shift"]
