"""What EagleNet's paper writes otherwise than its program: no biases, and the energy of the pooled video."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.matching import SamplerSettings
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.rgat import GraphShape
from tests.heads.heads import FRAMES, HEADS, WIDTH, applied, features, head_params, scores

EVALUATION = Draws(jax.random.key(7))
PROJECTIONS = ("query", "key", "value", "output")


def _head(**options) -> EagleNet:
    """Without the graph, which takes long to compile and is not what is shown."""
    small = {"sampler": SamplerSettings(steps=2, buffer_rows=6), "pooling_dropout": 0.0, "candidate_choice": "best"}
    options = {"energy": "bilinear", **options}
    return EagleNet(WIDTH, FRAMES, GraphShape(WIDTH, heads=2), candidates=3, **small, **options)


@functools.cache
def _params(head):
    params, rng = head_params(head), np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.float32(np.asarray(leaf) + 0.3 * rng.normal(size=leaf.shape))), params
    )


@functools.partial(jax.jit, static_argnums=0)
def _loss(head, params):
    draws = Draws(jax.random.key(1), train=True)
    return head.apply({"params": params}, *features(4), head.initial_state(), draws, whole, method="loss")


def _energies(head, params):
    text, video = features(4)
    return np.asarray(applied(head, params, text.pooled, video, method="pair_energies"))


def test_the_papers_projections_and_bilinear_energy_have_no_bias():
    """Without, they are those with biases of zero; biases that were learned move scores and energies."""
    biased, plain = _head(), _head(pooling_bias=False, energy_bias=False)
    params = _params(biased)
    layers = {
        **{name: params["pooling"][name] for name in PROJECTIONS},
        "text_map": params["energy_function"]["text_map"],
    }
    assert all(set(layer) == {"kernel", "bias"} for layer in layers.values())
    kernels = {name: {"kernel": layer["kernel"]} for name, layer in layers.items()}
    zeros = {name: {**layer, "bias": jnp.zeros_like(layer["bias"])} for name, layer in layers.items()}

    def having(parts):
        pooling = {**params["pooling"], **{name: parts[name] for name in PROJECTIONS}}
        return {**params, "pooling": pooling, "energy_function": {"text_map": parts["text_map"]}}

    assert jax.tree.map(jnp.shape, head_params(plain)) == jax.tree.map(jnp.shape, having(kernels))
    for computed in (lambda head, params: scores(head, params, *features(4), EVALUATION), _energies):
        found = computed(plain, having(kernels))
        np.testing.assert_allclose(found, computed(biased, having(zeros)), atol=1e-6)
        assert np.abs(found - computed(biased, params)).max() > 0.05
    assert "bias" in head_params(plain)["pooling"]["linear"]  # FC of appendix A is a whole layer


def test_the_fused_energy_is_that_of_the_frames_pooled_for_the_text():
    head = _head(energy_pooling="fused")
    params = _params(head)
    text, video = features(4)
    xpool = XPool(WIDTH, pooling_dropout=0.0)

    @jax.jit
    def pooled_frames():
        variables = {"params": {"pooling": params["pooling"], "matching_loss": {"logit_scale": jnp.zeros(())}}}
        sides = (
            xpool.apply(variables, each, method=f"prepare_{name}") for name, each in (("text", text), ("video", video))
        )
        return xpool.apply(variables, *sides, EVALUATION, aux=True, method="score").aux["pooled"]

    pooled, layer = np.asarray(pooled_frames()), params["energy_function"]["text_map"]
    unit = [np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (text.pooled, pooled)]
    expected = -np.sum((unit[0] @ layer["kernel"] + layer["bias"])[:, None] * unit[1], axis=-1)
    np.testing.assert_allclose(_energies(head, params), expected, atol=1e-5)
    matched = applied(head, params, text.pooled, video.frames, video.mask, method="fused_energies")
    np.testing.assert_allclose(matched, np.diagonal(expected), atol=1e-5)
    assert np.abs(_energies(_head(energy_pooling="mean_frame"), params) - expected).max() > 0.05


def test_the_loss_of_fused_energies_is_the_written_one_and_trains_the_pooling():
    head = _head(energy_pooling="fused", eam_negatives=False, eam_support_weight=0.0)
    params = _params(head)

    def eam_loss(params):
        _, parts, state = _loss(head, params)
        return parts["eam_loss"], state

    (found, state), slope = jax.jit(jax.value_and_grad(eam_loss, has_aux=True))(params)
    text, video = features(4)
    true = applied(head, params, text.pooled, video.frames, video.mask, method="fused_energies")
    every = jnp.ones((4, FRAMES), bool)
    sampled = applied(head, params, state.text[:4], state.video[:4], every, method="fused_energies")
    expected = true.mean() - sampled.mean() + (true**2).mean() + (sampled**2).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(jnp.abs(slope["pooling"]["value"]["kernel"]).max()) > 1e-4


@pytest.mark.parametrize("unit_length", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_second_energy_is_that_of_the_support_text_at_unit_length_or_as_it_is(unit_length):
    """L_eam of (t_sup, F), of which the samples are the newest rows of the buffer."""
    head = _head(energy="mlp", support="own", eam_negatives=False, support_unit_length=unit_length)
    params = _params(head)
    text, video = features(4)

    @jax.jit
    def aux():
        sides = (
            head.apply({"params": params}, each, method=f"prepare_{name}")
            for name, each in (("text", text), ("video", video))
        )
        return head.apply({"params": params}, *sides, EVALUATION, aux=True, method="score").aux

    row = np.arange(4)
    pooled, radius = (np.asarray(aux()[name])[row, row] for name in ("pooled", "radius"))
    way = pooled - np.asarray(text.pooled)
    support = np.asarray(text.pooled) + radius * way / np.linalg.norm(way, axis=-1, keepdims=True)
    support = support / np.linalg.norm(support, axis=-1, keepdims=True) if unit_length else support
    true = np.diagonal(applied(head, params, jnp.asarray(support), video, method="pair_energies"))
    _, parts, state = _loss(head, params)
    assert int(state.calls) == 2
    samples = dataclasses.replace(video, frames=state.video[:4], mask=jnp.ones((4, FRAMES), bool))
    sampled = np.diagonal(applied(head, params, state.text[:4], samples, method="pair_energies"))
    expected = true.mean() - sampled.mean() + (true**2).mean() + (sampled**2).mean()
    np.testing.assert_allclose(parts["eam_support_loss"], expected, rtol=1e-4)


def test_the_loss_of_the_papers_preset_is_made_in_double_precision_too():
    """Traced, with its buffer and its chains; what it computes is shown elsewhere."""
    head = HEADS["eaglenet_paper"]
    with jax.enable_x64(True):
        double = functools.partial(jax.tree.map, lambda x: jnp.asarray(x, jnp.float64) if x.dtype == jnp.float32 else x)
        params, (text, video) = double(head_params(head)), double(features(4))
        draws = Draws(jax.random.key(1), train=True)
        loss, parts, state = jax.eval_shape(
            lambda: head.apply({"params": params}, text, video, head.initial_state(), draws, whole, method="loss")
        )
        assert "eam_loss" in parts
        assert {leaf.dtype for leaf in (loss, *parts.values(), state.text, state.video)} == {np.dtype(np.float64)}


@pytest.mark.parametrize(("words", "weights"), [("b16", (0.5, 0.5)), ("b32", (0.5, 0.0)), ("b16,paper", (0.5, 0.0))])
def test_the_tables_weight_is_that_of_both_energy_losses(words, weights):
    head = load_config(f"ablations/eam_weight:weight_0.5,msrvtt,{words}").head
    assert (head.eam_weight, head.eam_support_weight) == weights
