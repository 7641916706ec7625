from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip import Clip, ClipConfig, layers, text
from eaglenet_jax.clip.vision import PIXEL_MEAN, PIXEL_STD, image_patches, normalised_pixels
from eaglenet_jax.errors import UserError
from tests.clip.sizes import TINY, encode_text, encode_video, random_frames, random_params, tiny

CLIP = tiny()
PARAMS = random_params(CLIP)
TOKENS = np.array([[38, 5, 6, 39, 0, 0], [38, 7, 39, 0, 0, 0], [38, 1, 2, 3, 4, 39]])


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


def test_padding_frames_change_nothing_and_have_zero_features():
    frames = random_frames(2, 5)
    mask = np.arange(5) < np.array([[3], [5]])
    features, patches = encode_video(CLIP, PARAMS, frames, mask, patches=True)
    other = jnp.where(mask[:, :, None, None, None], frames, 255 - frames)
    for before, after in zip((features, patches), encode_video(CLIP, PARAMS, other, mask, patches=True), strict=True):
        np.testing.assert_array_equal(before, after)
    alone, alone_patches = encode_video(CLIP, PARAMS, frames[:1, :3], mask[:1, :3], patches=True)
    close(features[0, :3], alone[0])
    close(patches[0, :3], alone_patches[0])
    assert not np.asarray(features[0, 3:]).any() and not np.asarray(patches[0, 3:]).any()
    assert np.abs(features[1]).min() > 0


def test_released_padding_takes_part():
    clip = tiny(mask_padding=False)
    frames = random_frames(1, 4)
    mask = np.array([[True, True, False, False]])
    features, _ = encode_video(clip, PARAMS, frames, mask)
    zeros = normalised_pixels(frames, jnp.asarray(mask), "float32")
    as_real_frames, _ = encode_video(CLIP, PARAMS, zeros, np.ones((1, 4), bool))
    close(features, as_real_frames)
    masked, _ = encode_video(CLIP, PARAMS, frames, mask)
    assert np.abs(features[0, 2]).max() > 0.01
    assert np.abs(features[0, 1] - masked[0, 1]).max() > 0.01  # the last valid frame sees its padded neighbour


def test_only_the_shift_connects_frames():
    frames, mask = random_frames(1, 4), np.ones((1, 4), bool)
    changed = frames.at[0, 2].set(7)
    for blocks, reached in (((), [False, False, True, False]), ((0,), [False, True, True, True])):
        clip = tiny(shift_blocks=blocks)
        before, after = (encode_video(clip, PARAMS, each, mask)[0] for each in (frames, changed))
        assert np.any(np.asarray(before != after), axis=-1)[0].tolist() == reached


def test_permuting_the_batch_permutes_the_features():
    frames, mask = random_frames(4, 3), np.arange(3) < np.array([[3], [1], [2], [3]])
    order = np.array([2, 0, 3, 1])
    close(encode_video(CLIP, PARAMS, frames[order], mask[order])[0], encode_video(CLIP, PARAMS, frames, mask)[0][order])
    close(encode_text(CLIP, PARAMS, TOKENS[[2, 0, 1]])[0], encode_text(CLIP, PARAMS, TOKENS)[0][np.array([2, 0, 1])])


def test_optional_outputs_do_not_change_the_others():
    frames, mask = random_frames(2, 3), np.ones((2, 3), bool)
    features, patches = encode_video(CLIP, PARAMS, frames, mask)
    pooled, words = encode_text(CLIP, PARAMS, TOKENS)
    assert patches is None and words is None
    full_features, patches = encode_video(CLIP, PARAMS, frames, mask, patches=True)
    full_pooled, words = encode_text(CLIP, PARAMS, TOKENS, words=True)
    close(features, full_features)
    close(pooled, full_pooled)
    assert patches.shape == (2, 3, 16, 6) and words.shape == (3, 6, 6)
    close(full_pooled, words[np.arange(3), [3, 2, 5]])  # end of text: the largest id


def test_text_does_not_attend_to_later_tokens():
    words = encode_text(CLIP, PARAMS, TOKENS, words=True)[1]
    changed = TOKENS.copy()
    changed[:, 3] = 9
    after = encode_text(CLIP, PARAMS, changed, words=True)[1]
    np.testing.assert_array_equal(words[:, :3], after[:, :3])
    assert np.abs(words[:, 3:] - after[:, 3:]).max(-1).min() > 1e-3


def test_padding_a_caption_changes_nothing():
    longer = np.pad(TOKENS, ((0, 0), (0, 4)))
    close(encode_text(CLIP, PARAMS, TOKENS)[0], encode_text(CLIP, PARAMS, longer)[0])


def test_uint8_frames_are_normalised_as_the_preprocessing_says():
    frames, mask = random_frames(1, 3), jnp.array([[True, True, False]])
    pixels = np.asarray(normalised_pixels(frames, mask, "float32"))
    expected = (np.asarray(frames, np.float64) / 255 - PIXEL_MEAN) / PIXEL_STD
    np.testing.assert_allclose(pixels[0, :2], expected[0, :2], rtol=0, atol=1e-6)
    assert not pixels[0, 2].any()
    np.testing.assert_array_equal(normalised_pixels(jnp.asarray(pixels), mask, "float32"), pixels)


def test_flat_patches_are_the_windows_of_a_convolution():
    image = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
    patches = image_patches(image, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4], np.asarray(image)[1, 2:4, 2:4].ravel())


def test_remat_and_bfloat16_compute_the_same_thing():
    frames, mask = random_frames(1, 2), np.ones((1, 2), bool)

    def loss(params, clip):
        return jnp.sum(encode_video(clip, params, frames, mask)[0] ** 2)

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    reference, remat = gradient(PARAMS, CLIP), gradient(PARAMS, tiny(remat=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), reference, remat)
    half = encode_video(tiny(dtype="bfloat16"), PARAMS, frames, mask)[0]
    assert half.dtype == jnp.bfloat16
    close(half.astype(jnp.float32), encode_video(CLIP, PARAMS, frames, mask)[0], tolerance=0.2)


def test_equal_blocks_of_a_tower_are_traced_once_and_compute_what_plain_blocks_do(monkeypatch):
    clip = tiny(text_layers=5)
    params, tokens = random_params(clip), jnp.asarray([[1, 5, 39, 0], [2, 3, 4, 39]])

    jax.clear_caches()  # of these blocks, as traced by a test before
    traced = []
    activation = layers.ACTIVATION_FUNCTIONS[clip.config.activation]
    counting = {clip.config.activation: lambda x: traced.append(x.shape) or activation(x)}
    monkeypatch.setattr(layers, "ACTIVATION_FUNCTIONS", counting)
    shared, _ = encode_text(clip, params, tokens)
    assert len(traced) == 2  # the last block computes one token
    monkeypatch.setattr(text, "block_class", lambda tower, remat: layers.Block)
    plain, _ = clip.apply({"params": params}, tokens, method="encode_text")
    assert len(traced) == 2 + 5
    np.testing.assert_allclose(shared, plain, atol=1e-6)
    jax.clear_caches()


def test_gradients_are_finite_for_constant_frames():
    frames, mask = jnp.zeros((1, 2, 16, 16, 3)), np.array([[True, False]])
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(encode_video(CLIP, params, frames, mask)[0] ** 2)))(PARAMS)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_activation_is_a_choice():
    tokens = TOKENS[:1]
    quick, exact = (encode_text(tiny(activation=name), PARAMS, tokens)[0] for name in ("quick_gelu", "gelu"))
    assert 1e-4 < np.abs(quick - exact).max() < 0.5


def test_parameters_start_as_clips():
    wide = ClipConfig(64, 32, 8, 256, 1, 4, 192, 1, 3, vocab_size=500, context_length=20)
    frames = jnp.zeros((1, 1, 32, 32, 3), jnp.uint8)
    start = jax.jit(Clip(wide).init)
    params = start(jax.random.key(3), jnp.zeros((1, 4), jnp.int32), frames, jnp.ones((1, 1), bool))["params"]
    text, vision = params["text"], params["vision"]
    expected = [
        (text["token_embedding"], 0.02),
        (text["position_embedding"], 0.01),
        (text["projection"], 192**-0.5),
        (text["block_0"]["attention"]["qkv_kernel"], 192**-0.5),
        (text["block_0"]["attention"]["output"]["kernel"], 192**-0.5 * 2**-0.5),
        (text["block_0"]["mlp_up"]["kernel"], 384**-0.5),
        (text["block_0"]["mlp_down"]["kernel"], 192**-0.5 * 2**-0.5),
        (vision["position_embedding"], 256**-0.5),
        (vision["block_0"]["mlp_down"]["kernel"], 256**-0.5 * 2**-0.5),
        (vision["patch_embedding"]["kernel"], (192 * 3) ** -0.5),
    ]
    for array, deviation in expected:
        assert np.std(array) == pytest.approx(deviation, rel=0.06)


def test_wrong_input_is_named():
    with pytest.raises(UserError, match=r"frames are \(8, 8, 3\).*takes \(16, 16, 3\)"):
        encode_video(CLIP, PARAMS, np.zeros((1, 1, 8, 8, 3), np.uint8), np.ones((1, 1), bool))
    with pytest.raises(UserError, match="captions have 11 tokens, the text tower takes at most 10"):
        encode_text(CLIP, PARAMS, np.zeros((1, 11), int))
    outside = np.array([[38, TINY.vocab_size, 0]])
    assert np.isnan(encode_text(CLIP, PARAMS, outside)[0]).all()


def test_float64_runs_in_float64():
    with jax.enable_x64(True):
        clip = Clip(dataclasses.replace(TINY, dtype="float64"))
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        features = encode_video(clip, params, random_frames(1, 2), np.ones((1, 2), bool))[0]
        assert features.dtype == jnp.float64
    close(features, encode_video(CLIP, PARAMS, random_frames(1, 2), np.ones((1, 2), bool))[0], tolerance=1e-4)
