"""The recorded features of the released program's CLIP, with its own names read through the table of `port`."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip import Clip
from eaglenet_jax.port.clip_sizes import sizes_from_shapes
from eaglenet_jax.port.load import clip_from_tensors
from eaglenet_jax.port.openai_clip import OPENAI_CLIP, SIZE_NAMES
from tests.clip.sizes import encode_text, encode_video


@pytest.fixture(scope="module")
def recorded(golden):
    record = golden("clip_token_shift")
    tensors = {name.removeprefix("param/"): array for name, array in record.items() if name.startswith("param/")}
    config = sizes_from_shapes(tensors, SIZE_NAMES)
    params, _ = clip_from_tensors(OPENAI_CLIP, tensors, config)
    return record, config, params


def test_text_features(recorded):
    record, config, params = recorded
    tokens = jnp.asarray(record["text_ids"].astype(np.int32))
    pooled, words = encode_text(Clip(config), params["clip"], tokens, True)
    np.testing.assert_allclose(pooled, record["text_features"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(words, record["text_hidden"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shift_blocks", "name"), [((), "image_features"), ((10, 11), "image_features_token_shift")])
def test_image_features(recorded, shift_blocks, name):
    record, config, params = recorded
    frames = jnp.asarray(record["frames"].transpose(0, 1, 3, 4, 2))
    clip = Clip(dataclasses.replace(config, shift_blocks=shift_blocks))
    mask = jnp.ones(frames.shape[:2], bool)
    features, patches = encode_video(clip, params["clip"], frames, mask, not shift_blocks)
    np.testing.assert_allclose(features, record[name], rtol=0, atol=1e-5)
    if not shift_blocks:
        tokens = jnp.concatenate([features[:, :, None], patches], axis=2)
        np.testing.assert_allclose(
            tokens.reshape(record["image_tokens"].shape), record["image_tokens"], rtol=0, atol=1e-5
        )
