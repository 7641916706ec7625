"""Switches of T-MASS, both sides: they differ, and each is its own formula (docs/DIFFERENCES.md)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.heads.tmass import TMass
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.losses import softmax_loss
from tests.heads.heads import FRAMES, WIDTH, applied, features, head_params, scores

EVALUATION = Draws(jax.random.key(7))
NO_PAIR = jnp.zeros((4, 4), bool)


def _head(**options) -> TMass:
    return TMass(WIDTH, samples=3, pooling_dropout=0.0, **options)


@functools.cache
def _params(head):
    """Parameters away from their start, which is the identity."""
    params, rng = head_params(head), np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.float32(np.asarray(leaf) + 0.2 * rng.normal(size=leaf.shape))), params
    )


@functools.partial(jax.jit, static_argnums=0)
def _loss(head, params):
    draws = Draws(jax.random.key(1), train=True)
    return head.apply({"params": params}, *features(4), (), draws, whole, method="loss")[:2]


def _cosine(x, y):
    return np.sum(x * y, -1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


def _xpool(params):
    return XPool(WIDTH, pooling_dropout=0.0), {name: params[name] for name in ("pooling", "matching_loss")}


def _pooled(params):
    head, own = _xpool(params)
    text, video = features(4)
    texts, videos = (
        applied(head, own, each, method=f"prepare_{name}") for name, each in (("text", text), ("video", video))
    )

    @jax.jit
    def pooled():
        return head.apply({"params": own}, texts, videos, EVALUATION, aux=True, method="score").aux["pooled"]

    return np.asarray(pooled())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("support", ["mean", "own"])
def test_the_support_text_is_the_written_one(support, bias):
    """Mean: one support text a text, of its own video's radius. Own: one for every pair, of the pair's radius and v."""
    head = _head(support=support, radius_bias=bias)
    params = _params(head)
    linear = params["radius"]["linear"]
    assert set(linear) == ({"kernel", "bias"} if bias else {"kernel"})
    text, video = features(4)
    pooled, t = _pooled(params), np.asarray(text.pooled)
    similarity = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            of = i if support == "mean" else j
            s = np.where(video.mask[of], _cosine(t[i], np.asarray(video.frames[of])), 0)
            radius = np.exp(s @ np.asarray(linear["kernel"]) + (np.asarray(linear["bias"]) if bias else 0))
            goal = pooled[:, i].mean(axis=0) if support == "mean" else pooled[i, j]
            moved = t[i] + radius * (goal - t[i]) / np.linalg.norm(goal - t[i])
            similarity[i, j] = _cosine(moved, pooled[i, j])
    scale = np.exp(params["matching_loss"]["logit_scale"])
    expected = softmax_loss(jnp.asarray(np.float32(scale * similarity)), NO_PAIR)
    np.testing.assert_allclose(_loss(head, params)[1]["support_loss"], expected, rtol=1e-4)
    other = _head(support={"mean": "own", "own": "mean"}[support], radius_bias=bias)
    assert abs(_loss(other, params)[1]["support_loss"] - expected) > 0.01


def test_without_samples_the_text_itself_is_scored():
    head = _head()
    params = _params(head)
    text, video = features(4)
    plain = scores(*_xpool(params), text, video, EVALUATION)
    np.testing.assert_allclose(scores(_head().clone(samples=0), params, text, video, EVALUATION), plain, atol=1e-6)
    assert np.abs(scores(head, params, text, video, EVALUATION) - plain).max() > 1e-2


def test_without_a_radius_it_is_x_pool():
    head = _head(radius_kind="none")
    params = head_params(head)
    assert set(params) == {"pooling", "matching_loss"}
    params = _params(_head())
    xpool, own = _xpool(params)
    text, video = features(4)
    np.testing.assert_allclose(scores(head, own, text, video, EVALUATION), scores(xpool, own, text, video, EVALUATION))
    np.testing.assert_allclose(_loss(head, own)[0], _loss(xpool, own)[0], rtol=1e-6)
    assert abs(_loss(_head(), params)[0] - _loss(xpool, own)[0]) > 0.01


def test_the_loss_is_the_weighted_sum_of_its_parts_and_that_of_the_text_is_x_pools():
    params = _params(_head())
    of_xpool = _loss(*_xpool(params))[0]
    for text_weight, support_weight in ((0.0, 0.0), (0.0, 1.2), (0.7, 0.0), (0.7, 0.8)):
        loss, parts = _loss(_head(text_weight=text_weight, support_weight=support_weight), params)
        assert ("text_loss" in parts, "support_loss" in parts) == (text_weight > 0, support_weight > 0)
        total = parts["match_loss"] + text_weight * of_xpool + support_weight * parts.get("support_loss", 0.0)
        np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_the_radius_kinds_differ_and_none_but_the_linear_has_a_weight_a_frame():
    text, video = features(4)
    shapes, found = {}, []
    for kind in ("mean", "scalar", "linear"):
        params = _params(_head(radius_kind=kind))
        shapes[kind] = jax.tree.map(jnp.shape, params.get("radius", {}))
        found.append(scores(_head(radius_kind=kind), params, text, video, EVALUATION))
    assert shapes == {
        "mean": {},
        "scalar": {"scalar": ()},
        "linear": {"linear": {"bias": (WIDTH,), "kernel": (FRAMES, WIDTH)}},
    }
    assert min(np.abs(found[i] - found[i - 1]).max() for i in range(3)) > 1e-3


def test_the_papers_preset_has_twelve_frames_on_every_dataset():
    for preset, frames in (("ours", 64), ("released", 64), ("paper", 12)):
        config = load_config(f"didemo:tmass,{preset}")
        assert (config.max_frames, config.head.support_weight) == (frames, 0.8)
        assert (config.head.support, config.head.radius_bias) == (("own", False) if frames == 12 else ("mean", True))
    assert load_config("didemo:xpool,paper").max_frames == 64
    assert load_config("ablations/tmass_frames:frames_18,charades,paper").max_frames == 18
