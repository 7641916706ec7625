from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.layers.losses import softmax_loss
from eaglenet_jax.training.gradcache import value_and_cached_gradient
from eaglenet_jax.training.sharding import make_mesh, shard_batch
from tests.training import tiny
from tests.training.eight_devices import needs_eight_devices


def _encode(params: Any, batch: Any) -> Any:
    ids, mask = jnp.asarray(batch["text_id"]), jnp.asarray(batch["frame_mask"])
    text = jnp.tanh(batch["tokens"] / 30 @ params["text"])
    frames = jnp.tanh(batch["frames"].reshape(*mask.shape, -1) / 255 @ params["frame"])
    return TextFeatures(ids, text, None, mask), VideoFeatures(batch["video_id"], frames, None, mask)


def _loss(params: Any, features: Any) -> Any:
    """Loss like a head's: all pairs, noise by pair, features kept as the next state."""
    text, video = features
    noise = Draws(jax.random.key(2), train=True).uniform("noise", (text.id[:, None], video.id[None, :]), ())
    pooled = jnp.sum(video.frames * video.mask[..., None], 1) / jnp.sum(video.mask, 1)[:, None]
    similarity = text.pooled @ pooled.T + noise
    loss = softmax_loss(params["scale"] * similarity, jnp.zeros(similarity.shape, bool))
    return loss, {"state": text.pooled, "parts": {"mean": jnp.mean(similarity)}}


def _params() -> dict[str, jax.Array]:
    rng = np.random.default_rng(1)
    shapes = {"text": (tiny.WORDS, 8), "frame": (3 * tiny.SIZE**2, 8), "scale": ()}
    return {name: jnp.asarray(np.float32(rng.normal(size=shape) * 0.3)) for name, shape in shapes.items()}


@cache
def _full_batch(count: int) -> Any:
    gradient = jax.value_and_grad(lambda params, batch: _loss(params, _encode(params, batch)), has_aux=True)
    return jax.jit(gradient)(_params(), tiny.batch(count))


@jax.jit(static_argnums=1)
def _cached(batch: Any, micro_batches: int) -> Any:
    return value_and_cached_gradient(_encode, _loss, _params(), batch, micro_batches)


def _assert_close(ours: Any, expected: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    # 1e-7 at least: the gradient of the scale is a sum that cancels, and one rounding of its summands is that large.
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1e-2, float(jnp.max(jnp.abs(b)))))


@pytest.mark.parametrize("micro_batches", [1, 3, 12])
def test_loss_state_and_gradient_are_those_of_the_full_batch(micro_batches: int) -> None:
    _assert_close(_cached(tiny.batch(12), micro_batches), _full_batch(12))


@needs_eight_devices
def test_gradcache_is_the_same_on_eight_devices() -> None:
    _assert_close(_cached(shard_batch(tiny.batch(16), make_mesh()), 2), _full_batch(16))


@pytest.mark.long
def test_eaglenet_has_the_gradient_and_the_buffer_of_the_full_batch() -> None:
    system, draws, batch = tiny.system("eaglenet"), Draws(jax.random.key(5), train=True), tiny.batch(6)

    def encode(params: Any, batch: Any) -> Any:
        text = system.encode_text(params, batch["text_id"], batch["tokens"])
        return text, system.encode_video(params, batch["video_id"], batch["frames"], batch["frame_mask"])

    def loss(params: Any, features: Any) -> Any:
        arguments = (*features, system.head.initial_state(), draws, whole)
        value, parts, state = system.head.apply({"params": params["head"]}, *arguments, method="loss")
        return value, (parts, state)

    full = jax.value_and_grad(lambda params, batch: loss(params, encode(params, batch)), has_aux=True)
    params = tiny.initial_params("eaglenet")
    cached = jax.jit(lambda params, batch: value_and_cached_gradient(encode, loss, params, batch, 3))
    _assert_close(cached(params, batch), jax.jit(full)(params, batch))


def test_memory_of_the_encoder_falls_with_the_micro_batch() -> None:
    def temporary_bytes(micro_batches: int) -> int:
        def encode(params: Any, batch: jax.Array) -> jax.Array:
            hidden = batch
            for _ in range(4):
                hidden = jnp.tanh(hidden @ params)
            return hidden[:, :4]

        def loss(params: Any, features: jax.Array) -> Any:
            return jnp.sum(features) ** 2, ()

        run = jax.jit(lambda params, batch: value_and_cached_gradient(encode, loss, params, batch, micro_batches)[1])
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((64, 64), (1024, 64))]
        return run.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(16) < temporary_bytes(1) / 2


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 7 does not divide into 2 micro-batches"):
        value_and_cached_gradient(lambda p, b: b, lambda p, f: (jnp.sum(f), ()), jnp.ones(1), jnp.ones((7, 2)), 2)
