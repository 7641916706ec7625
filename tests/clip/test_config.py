from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest

from eaglenet_jax.clip import Clip, clip_config
from eaglenet_jax.clip.parameters import clip_shapes, initial_clip
from eaglenet_jax.errors import UserError
from tests.clip.sizes import tiny


@pytest.mark.parametrize(
    ("name", "published"),  # parameters of OpenAI's models, logit scale included
    [
        ("ViT-B/32", 151_277_313),
        ("ViT-B/16", 149_620_737),
        ("ViT-L/14", 427_616_513),
        ("ViT-L/14@336px", 427_944_193),
    ],
)
def test_named_sizes_have_as_many_parameters_as_openais(name, published):
    config = clip_config(name)
    params = clip_shapes(Clip(config))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) + 1 == published
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_shapes_of_all_blocks_are_those_of_the_initialisation():
    """Only one block of each tower is traced for them."""
    clip = tiny(vision_layers=3, text_layers=2, shift_blocks=(1,))
    whole = jax.eval_shape(lambda key: initial_clip(clip, key), jax.random.key(0))
    assert clip_shapes(clip) == whole
    clip_shapes(clip)["text"]["block_0"].clear()  # of its own for each caller
    assert clip_shapes(clip) == whole


def test_named_size_with_changed_fields():
    assert clip_config("ViT-B/16", shift_blocks=[10, 11]).shift_blocks == (10, 11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 5}, "image_size 16 is not a multiple of patch_size 5"),
        ({"vision_heads": 3}, "vision_width 8 is not a multiple of vision_heads 3"),
        ({"text_heads": 5}, "text_width 12 is not a multiple of text_heads 5"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"shift_blocks": (0, 3)}, r"shift_blocks \[3\] do not exist"),
        ({"patch_size": 8}, "token shift needs at least 7 tokens a frame"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        tiny(**changes)


def test_few_tokens_are_no_error_without_token_shift():
    assert tiny(patch_size=8, shift_blocks=()).config.patches == 4


def test_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"'ViT-B/8'.*ViT-B/32, ViT-B/16"):
        clip_config("ViT-B/8")
