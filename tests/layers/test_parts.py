"""Losses, unit vectors, stochastic text and frame pooling against loops written from docs/systems.md."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.layers.frame_pooling import FramePooling
from eaglenet_jax.layers.losses import (
    LOSSES,
    FixedSoftmaxLoss,
    LossSettings,
    SigmoidLoss,
    SoftmaxLoss,
    make_matching_loss,
    repeated_video,
    sigmoid_loss,
    softmax_loss,
)
from eaglenet_jax.layers.similarity import cosine, masked_mean, masked_softmax, unit
from eaglenet_jax.layers.stochastic_text import Radius, candidates, frame_similarities, toward

NO_PAIR = jnp.zeros((4, 4), bool)


def _random(*shape, seed=0):
    return jnp.asarray(np.float32(np.random.default_rng(seed).normal(size=shape)))


def test_unit_vectors_of_ordinary_zero_huge_and_tiny_input():
    x = _random(5, 3)
    np.testing.assert_allclose(unit(x), x / np.linalg.norm(x, axis=-1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(unit(1e30 * x), unit(x), rtol=1e-5)
    np.testing.assert_allclose(unit(1e-30 * x), unit(x), rtol=1e-5)
    np.testing.assert_array_equal(unit(jnp.zeros((2, 3))), 0)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(unit(x)))(jnp.zeros(3)), 0)
    slope = jax.grad(lambda x: unit(x)[0])(jnp.asarray([3.0, 4.0]))
    np.testing.assert_allclose(slope, [16 / 125, -12 / 125], rtol=1e-5)  # (1 − x₀²/|x|²)/|x|, −x₀x₁/|x|³
    assert float(cosine(jnp.asarray([1.0, 0.0]), jnp.asarray([1.0, 1.0]))) == pytest.approx(2**-0.5, rel=1e-6)


def test_masked_mean_and_softmax():
    x, mask = _random(2, 4), jnp.asarray([[True, True, False, True], [False] * 4])
    np.testing.assert_allclose(masked_mean(x, mask), [np.mean(np.asarray(x)[0, [0, 1, 3]]), 0], rtol=1e-5)
    weights = masked_softmax(x, mask)
    np.testing.assert_allclose(weights.sum(axis=-1), [1, 0], rtol=1e-5)
    assert weights[0, 2] == 0


def test_a_loss_is_made_by_its_name_and_a_new_one_is_one_line(monkeypatch):
    s, settings = _random(4, 4), LossSettings(logit_scale=2.0, log_scale=0.5, bias=-1.0, fixed=3.0)
    expected = {
        "softmax": softmax_loss(2 * s, NO_PAIR),
        "sigmoid": sigmoid_loss(s, jnp.asarray(0.5), jnp.asarray(-1.0), NO_PAIR),
        "fixed_softmax": softmax_loss(3 * s, NO_PAIR),
    }
    assert set(expected) == set(LOSSES)
    monkeypatch.setitem(LOSSES, "cold_softmax", lambda settings: FixedSoftmaxLoss(settings.fixed / 10))
    expected["cold_softmax"] = softmax_loss(0.3 * s, NO_PAIR)
    for kind, value in expected.items():
        loss, _ = make_matching_loss(kind, settings).init_with_output(jax.random.key(0), s, NO_PAIR)
        np.testing.assert_allclose(loss, value, rtol=1e-6, err_msg=kind)
    with pytest.raises(ValueError, match="'hinge' is none of softmax, sigmoid, fixed_softmax"):
        make_matching_loss("hinge", settings)


def test_sigmoid_loss_is_the_written_sum_and_does_not_overflow():
    s = _random(4, 4)
    scale, bias = 1.3, -0.7
    total = 0.0
    for i in range(4):
        for j in range(4):
            y = 1 if i == j else -1
            total -= np.log(1 / (1 + np.exp(-y * (np.exp(scale) * float(s[i, j]) + bias))))
    found = sigmoid_loss(s, jnp.asarray(scale), jnp.asarray(bias), NO_PAIR)
    assert float(found) == pytest.approx(total / 4, rel=1e-5)
    assert np.isfinite(sigmoid_loss(1e6 * s, jnp.asarray(4.77), jnp.asarray(-12.93), NO_PAIR))
    params = SigmoidLoss().init(jax.random.key(0), s, NO_PAIR)["params"]
    assert (float(params["log_scale"]), float(params["bias"])) == pytest.approx((4.77, -12.93))


def test_softmax_loss_is_the_written_cross_entropy():
    s = np.asarray(_random(4, 4), np.float64)
    rows = [-s[i, i] + np.log(np.exp(s[i]).sum()) for i in range(4)]
    columns = [-s[i, i] + np.log(np.exp(s[:, i]).sum()) for i in range(4)]
    found = softmax_loss(jnp.asarray(np.float32(s)), NO_PAIR)
    assert float(found) == pytest.approx((np.mean(rows) + np.mean(columns)) / 2, rel=1e-5)
    scaled = SoftmaxLoss(initial_logit_scale=5.0)
    variables = scaled.init(jax.random.key(0), jnp.asarray(np.float32(s)), NO_PAIR)
    assert float(variables["params"]["logit_scale"]) == pytest.approx(np.log(5), rel=1e-6)
    np.testing.assert_allclose(
        scaled.apply(variables, jnp.asarray(np.float32(s)), NO_PAIR),
        softmax_loss(jnp.asarray(np.float32(5 * s)), NO_PAIR),
        rtol=1e-5,
    )


def test_ignored_pairs_leave_both_losses():
    ids = jnp.asarray([7, 8, 7, 9], jnp.uint32)
    ignored = repeated_video(ids)
    assert np.argwhere(np.asarray(ignored)).tolist() == [[0, 2], [2, 0]]
    s = _random(4, 4)
    far = s.at[0, 2].set(50.0).at[2, 0].set(50.0)
    np.testing.assert_allclose(softmax_loss(far, ignored), softmax_loss(s, ignored), rtol=1e-6)
    one, zero = jnp.asarray(1.0), jnp.asarray(0.0)
    np.testing.assert_allclose(sigmoid_loss(far, one, zero, ignored), sigmoid_loss(s, one, zero, ignored), rtol=1e-6)
    assert softmax_loss(far, NO_PAIR) > softmax_loss(s, NO_PAIR) + 1


@pytest.mark.parametrize("bias", [True, False])
def test_radius_and_candidates(bias):
    text, frames = _random(2, 5), _random(3, 4, 5, seed=1)
    mask = jnp.asarray([[True] * 4, [True, False, False, False], [True, True, False, False]])
    similarities = frame_similarities(text, frames, mask)
    expected = np.zeros((2, 3, 4))
    for i in range(2):
        for v in range(3):
            for j in range(4):
                if mask[v, j]:
                    t, f = np.asarray(text[i]), np.asarray(frames[v, j])
                    expected[i, v, j] = t @ f / np.linalg.norm(t) / np.linalg.norm(f)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
    radius = Radius(5, bias)
    variables = radius.init(jax.random.key(0), similarities)
    linear = variables["params"]["linear"]
    assert set(linear) == ({"kernel", "bias"} if bias else {"kernel"})
    if bias:  # W starts as the identity, b as zero (released)
        np.testing.assert_allclose(radius.apply(variables, similarities)[..., :4], np.exp(expected), rtol=1e-5)
        np.testing.assert_allclose(radius.apply(variables, similarities)[..., 4], 1)
    else:
        np.testing.assert_allclose(
            radius.apply(variables, similarities), np.exp(expected @ np.asarray(linear["kernel"])), rtol=1e-5
        )
    found = radius.apply(variables, similarities)
    noise = _random(2, 1, 6, 5, seed=2)
    cloud = candidates(text[:, None], found, noise)
    np.testing.assert_allclose(
        cloud[1, 2, 3], np.asarray(text)[1] + np.asarray(found)[1, 2] * np.asarray(noise)[1, 0, 3], rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["mean", "scalar"])
def test_radius_of_the_mean_similarity_of_the_real_frames(kind):
    similarities, mask = (
        _random(2, 3, 4),
        jnp.asarray([[True] * 4, [True, False, False, False], [True, True, True, False]]),
    )
    radius = Radius(5, kind=kind)
    variables = radius.init(jax.random.key(0), similarities, mask)
    if kind == "scalar":
        assert variables["params"]["scalar"] == 0
        variables = {"params": {"scalar": jnp.asarray(2.5)}}
    factor = 2.5 if kind == "scalar" else 1.0
    found = radius.apply(variables, similarities, mask)
    for i in range(2):
        for v in range(3):
            expected = np.exp(factor * np.asarray(similarities)[i, v][np.asarray(mask)[v]].mean())
            np.testing.assert_allclose(found[i, v], np.full(5, expected), rtol=1e-5)
    with pytest.raises(ValueError, match="none of mean, scalar, linear"):
        Radius(5, kind="cubic").init(jax.random.key(0), similarities)


def test_support_text_moves_by_the_radius_toward_its_target():
    text, target, radius = _random(3, 5), _random(3, 5, seed=1), jnp.full((3, 5), 0.5)
    moved = toward(text, target, radius)
    np.testing.assert_allclose(np.linalg.norm(moved - text, axis=-1), 0.5, rtol=1e-5)
    np.testing.assert_allclose(cosine(moved - text, target - text), 1, rtol=1e-5)


@pytest.mark.parametrize(("heads", "input_norm"), [(1, True), (2, True), (4, False)])
def test_folded_pooling_is_attention_as_written(heads, input_norm):
    width = 8
    pooling = FramePooling(width, heads, input_norm=input_norm)
    text, frames = _random(2, 3, width), _random(3, 4, width, seed=1)
    mask = jnp.asarray([[True] * 4, [True, False, False, False], [True, True, True, False]])
    draws, ids = Draws(jax.random.key(0)), (jnp.arange(2)[:, None], jnp.arange(3)[None])

    def pooled(module, text):
        return module(text, module.prepare(frames, mask), draws, ids)

    variables = jax.jit(lambda key: pooling.init(key, text, method=pooled))(jax.random.key(0))
    rng = np.random.default_rng(3)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(np.float32(np.asarray(leaf) + 0.3 * rng.normal(size=leaf.shape))), variables
    )
    found = jax.jit(lambda variables: pooling.apply(variables, text, method=pooled))(variables)
    p = jax.tree.map(np.asarray, variables["params"])

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * p[name]["scale"] + p[name]["bias"]

    def linear(x, name):
        return x @ p[name]["kernel"] + p[name]["bias"]

    first = (lambda x: norm(x, "norm1")) if input_norm else (lambda x: x)
    for i in range(2):
        for v in range(3):
            valid = np.asarray(frames)[v][np.asarray(mask)[v]]
            query = linear(first(np.asarray(text)[i, v]), "query").reshape(heads, -1)
            keys, values = (linear(first(valid), name).reshape(len(valid), heads, -1) for name in ("key", "value"))
            mixed = []
            for h in range(heads):
                logits = keys[:, h] @ query[h] / np.sqrt(width / heads)
                weights = np.exp(logits - logits.max())
                mixed.append((weights / weights.sum()) @ values[:, h])
            x = norm(linear(np.concatenate(mixed), "output"), "norm2")
            np.testing.assert_allclose(found[i, v], norm(x + linear(x, "linear"), "norm3"), atol=2e-5)
    shared = jax.jit(lambda variables: pooling.apply(variables, text[:, :1], method=pooled))(variables)
    repeated = jnp.broadcast_to(text[:, :1], text.shape)
    np.testing.assert_allclose(shared, pooling.apply(variables, repeated, method=pooled), atol=2e-5)
