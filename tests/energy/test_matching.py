"""Energies, sampler and replay buffer against their definitions."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.functions import Energy
from eaglenet_jax.energy.langevin import langevin_samples
from eaglenet_jax.energy.matching import MatchingPairs, SamplerSettings, energy_loss, regularised_difference
from eaglenet_jax.energy.replay_buffer import empty_buffer, push, start_chains

WIDTH, FRAMES = 4, 3
DRAWS = Draws(jax.random.key(0), train=True)
_started_chains = jax.jit(start_chains, static_argnums=1, static_argnames=("rule", "probability"))


def _pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(count, WIDTH)).astype(np.float32)
    frames = rng.normal(size=(count, FRAMES, WIDTH)).astype(np.float32)
    mask = np.arange(FRAMES) < rng.integers(1, FRAMES + 1, size=(count, 1))
    return jnp.asarray(text), jnp.asarray(frames), jnp.asarray(mask)


@functools.partial(jax.jit, static_argnums=0)
def _energies(energy, params, *pairs):
    """Energies of pairs as one program; operation by operation each is compiled by itself."""
    return energy.apply({"params": params}, *pairs)


@functools.partial(jax.jit, static_argnums=0)
def _start(energy, seed, *pairs):
    return energy.init(jax.random.key(seed), *pairs).get("params", {})


def _by_loops(kind, pooling, params, text, frames, mask):
    unit = lambda x: x / np.linalg.norm(x)  # noqa: E731
    text, frames, mask = np.asarray(text), np.asarray(frames), np.asarray(mask)
    if pooling == "mean_frame":  # one frame, the mean of the valid ones
        frames = np.stack([each[valid].mean(axis=0)[None] for each, valid in zip(frames, mask, strict=True)])
        mask, pooling = np.ones((len(text), 1), bool), "avg"
    result = np.zeros(len(text))
    for i in range(len(text)):
        values = []
        for frame, valid in zip(frames[i], mask[i], strict=True):
            if not valid:
                continue
            if kind == "cosine":
                value = -unit(text[i]) @ unit(frame)
            elif kind == "bilinear":
                layer = params["text_map"]
                value = -(unit(text[i]) @ layer["kernel"] + layer["bias"]) @ unit(frame)
            else:
                kernel = np.concatenate([params["hidden_frame"]["kernel"], params["hidden_text"]["kernel"]])
                hidden = np.maximum(np.concatenate([frame, text[i]]) @ kernel + params["hidden_frame"]["bias"], 0)
                value = (hidden @ params["output"]["kernel"] + params["output"]["bias"])[0]
            values.append(value)
        result[i] = {"avg": np.mean, "max": np.max, "min": np.min}[pooling](values)
    return result


@pytest.mark.parametrize("kind", ["cosine", "bilinear", "mlp"])
@pytest.mark.parametrize("pooling", ["avg", "max", "min", "mean_frame"])
def test_energies_equal_their_definition(kind, pooling):
    text, frames, mask = _pairs(5)
    energy = Energy(WIDTH, kind, pooling)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1, _start(energy, 1, text, frames, mask))
    found = _energies(energy, params, text, frames, mask)
    np.testing.assert_allclose(found, _by_loops(kind, pooling, params, text, frames, mask), atol=1e-5)
    every = _energies(energy, params, text[:, None], frames[None], mask[None])
    np.testing.assert_allclose(np.diagonal(every), found, atol=1e-5)


def test_langevin_follows_the_written_recursion():
    text, video, _ = _pairs(3)
    weight = np.float32(0.3)

    def energy(text, video):
        return weight * jnp.sum(text**2, axis=-1) + 0.5 * jnp.sum(video**2, axis=(-1, -2))

    found = langevin_samples(energy, text, video, DRAWS, steps=4, step_size=0.5, noise_deviation=0.1)
    chain = jnp.arange(3, dtype=jnp.uint32)
    for step in range(4):
        here = DRAWS.fold(step)
        text_noise = here.normal("langevin_text", (chain,), (WIDTH,))
        video_noise = here.normal("langevin_video", (chain,), (FRAMES, WIDTH))
        text = text - 0.5 * 2 * weight * text + 0.1 * text_noise
        video = video - 0.5 * video + 0.1 * video_noise
    np.testing.assert_allclose(found[0], text, atol=1e-5)
    np.testing.assert_allclose(found[1], video, atol=1e-5)


def test_langevin_without_noise_lowers_the_energy_and_samples_the_right_spread():
    def energy(text, video):
        return 0.5 * jnp.sum(text**2, axis=-1) + 0.5 * jnp.sum(video**2, axis=(-1, -2))

    text, video, _ = _pairs(500)
    lower = langevin_samples(energy, text, video, DRAWS, steps=5, step_size=0.1, noise_deviation=0.0)
    assert np.all(energy(*lower) < energy(text, video))
    # x ← (1 − η) x + σ n has variance σ² / (1 − (1 − η)²).
    settled = langevin_samples(energy, text, video, DRAWS, steps=100, step_size=0.1, noise_deviation=0.2)
    assert np.std(settled[0]) == pytest.approx(0.2 / (1 - 0.9**2) ** 0.5, rel=0.05)


def test_pushed_samples_stand_in_front_and_the_oldest_drop():
    buffer = empty_buffer(4, FRAMES, WIDTH)
    first, second = _pairs(3, seed=1), _pairs(3, seed=2)
    buffer = push(buffer, *first[:2])
    assert int(buffer.valid_rows) == 3 and int(buffer.calls) == 1
    np.testing.assert_array_equal(buffer.text[3], 0)
    buffer = push(buffer, *second[:2])
    assert int(buffer.valid_rows) == 4
    np.testing.assert_array_equal(buffer.text, np.concatenate([second[0], first[0][:1]]))
    np.testing.assert_array_equal(buffer.video, np.concatenate([second[1], first[1][:1]]))
    many = push(empty_buffer(2, FRAMES, WIDTH), *first[:2])
    np.testing.assert_array_equal(many.text, first[0][:2])


def _filled(valid, calls=1):
    text, video, _ = _pairs(10, seed=3)
    rows = np.arange(10)[:, None]
    text = np.where(rows < valid, text - 10, 0)  # far below U[0, 1), so that a row is told from a fresh start
    video = np.where(rows[..., None] < valid, video - 10, 0)
    return dataclasses.replace(
        empty_buffer(10, FRAMES, WIDTH),
        text=jnp.asarray(text),
        video=jnp.asarray(video),
        valid_rows=jnp.asarray(valid),
        calls=jnp.asarray(calls),
    )


def test_released_starts():
    text, video = _started_chains(_filled(10, calls=0), 8, DRAWS, rule="released")
    assert text.min() < -0.2 and text.min() >= -1 and text.max() < 1 and video.min() < -0.5
    buffer = _filled(10)
    text, video = _started_chains(buffer, 8, DRAWS, rule="released")
    rows = [int(np.flatnonzero((np.asarray(buffer.text) == row).all(1))[0]) for row in np.asarray(text[:7])]
    assert len(set(rows)) == 7  # int(0.95 · 8) distinct rows, the same for text and video
    np.testing.assert_array_equal(video[:7], buffer.video[np.asarray(rows)])
    assert text[7].min() >= 0 and text[7].max() < 1
    zero_rows, _ = _started_chains(_filled(0), 8, DRAWS, rule="released")
    np.testing.assert_array_equal(zero_rows[:7], 0)  # its flaw: rows that were never pushed


def test_our_starts_take_only_pushed_rows():
    for valid, taken in ((0, 0), (3, 3), (10, 7)):
        text, video = _started_chains(_filled(valid), 8, DRAWS, rule="ours")
        from_buffer = np.asarray(text).max(axis=1) < -1
        assert from_buffer.sum() == taken and (np.asarray(video).max(axis=(1, 2)) < -1).sum() == taken
        assert np.all(np.asarray(text)[~from_buffer] >= 0)
    text, _ = _started_chains(_filled(10, calls=0), 8, DRAWS, rule="ours")
    assert text.max() < 1


def test_paper_starts_are_independent_for_text_and_video():
    text, video = _started_chains(_filled(4), 2000, DRAWS, rule="paper", probability=0.8)
    from_text = np.asarray(text).max(axis=1) < -1
    from_video = np.asarray(video).max(axis=(1, 2)) < -1
    assert from_text.mean() == pytest.approx(0.8, abs=0.04)
    assert (from_text & from_video).mean() == pytest.approx(0.64, abs=0.04)
    fresh, _ = _started_chains(_filled(0), 20, DRAWS, rule="paper")
    assert fresh.min() >= 0


@pytest.mark.parametrize("rule", ["ours", "released", "paper"])
def test_chains_start_in_double_precision_too(rule):
    with jax.enable_x64(True):
        buffer = push(empty_buffer(6, FRAMES, WIDTH), jnp.full((6, WIDTH), -5.0), jnp.full((6, FRAMES, WIDTH), -5.0))
        text, video = _started_chains(buffer, 5, DRAWS, rule=rule, probability=1.0)
        assert text.dtype == video.dtype == jnp.float64 and text.max() == video.max() == -5


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="none of ours, released, paper"):
        start_chains(_filled(1), 2, DRAWS, rule="mine")


def test_the_loss_is_the_written_sum():
    text, frames, mask = pairs = MatchingPairs(*_pairs(4))
    energy = Energy(WIDTH, "bilinear")
    params = _start(energy, 2, text, frames, mask)
    settings = SamplerSettings(steps=2, buffer_rows=6)

    @jax.jit
    def both(mismatched):
        bound = energy.bind({"params": params})
        return energy_loss(bound, pairs, mismatched, empty_buffer(6, FRAMES, WIDTH), DRAWS, settings)

    paper, buffer = both(None)
    true = _energies(energy, params, text, frames, mask)
    sampled = _energies(energy, params, buffer.text[:4], buffer.video[:4], jnp.ones((4, FRAMES), bool))
    expected = true.mean() - sampled.mean() + (true**2).mean() + (sampled**2).mean()
    np.testing.assert_allclose(paper, expected, rtol=1e-5)
    every = _energies(energy, params, text[:, None], frames[None], mask[None])
    off = ~np.eye(4, dtype=bool)
    wrong = np.asarray(every)[off]
    released, _ = both((every, jnp.asarray(off)))
    other = true.mean() - wrong.mean() + (true**2).mean() + (wrong**2).mean()
    np.testing.assert_allclose(released, (other + expected) / 2, rtol=1e-5)


def test_no_gradient_passes_through_the_samples():
    text, frames, mask = pairs = MatchingPairs(*_pairs(3))
    energy = Energy(WIDTH, "mlp")
    params = _start(energy, 3, text, frames, mask)
    settings = SamplerSettings(steps=3, buffer_rows=6)

    def loss(params, fixed):
        bound = energy.bind({"params": params})
        value, buffer = energy_loss(bound, pairs, None, empty_buffer(6, FRAMES, WIDTH), DRAWS, settings)
        if fixed is None:
            return value, buffer
        sampled = energy.apply({"params": params}, *fixed, jnp.ones((3, FRAMES), bool))
        true = energy.apply({"params": params}, text, frames, mask)
        return regularised_difference(true, sampled, jnp.ones(3, bool)), buffer

    with_slope = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, buffer), slope = with_slope(params, None)
    constant = (buffer.text[:3], buffer.video[:3])
    _, other = with_slope(params, constant)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6), slope, other)
