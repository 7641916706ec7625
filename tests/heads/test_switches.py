"""Switches of EagleNet, both sides: they differ, and each is its own formula (docs/DIFFERENCES.md)."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.matching import SamplerSettings
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import PreparedText, TextFeatures, VideoFeatures, whole
from eaglenet_jax.layers.rgat import GraphShape
from eaglenet_jax.registry import head_class
from eaglenet_jax.system import build_clip_config, build_system
from tests.heads.heads import FRAMES, WIDTH, applied, features, head_params, random_params, scores

SHAPE = GraphShape(WIDTH, heads=2, dropout_rate=0.0)
SMALL = SamplerSettings(steps=2, buffer_rows=6)
NO_GRAPH = {"candidate_choice": "best"}  # where the graph, which takes long to compile, is not what is shown


def _head(**options) -> EagleNet:
    return EagleNet(WIDTH, FRAMES, SHAPE, candidates=3, sampler=SMALL, pooling_dropout=0.0, **options)


@functools.partial(jax.jit, static_argnums=0)
def _loss(head, params):
    text, video = features(4)
    draws = Draws(jax.random.key(1), train=True)
    return head.apply({"params": params}, text, video, head.initial_state(), draws, whole, method="loss")


@functools.partial(jax.jit, static_argnums=0)
def _aux(head, params, draws):
    text, video = features(4)
    variables = {"params": params}
    texts = head.apply(variables, text, method="prepare_text")
    videos = head.apply(variables, video, method="prepare_video")
    return head.apply(variables, texts, videos, draws, aux=True, method="score")


def test_candidate_noise_is_uniform_or_normal():
    params = head_params(_head())
    text, _ = features(4)
    constant = {"uniform": 0.25, "normal": 0.75}

    @struct.dataclass
    class Constant(Draws):
        """Tells by its number which distribution was asked for."""

        def uniform(self, name, ids, shape):
            return jnp.full((4, 1, *shape), constant["uniform"])

        def normal(self, name, ids, shape):
            return jnp.full((4, 1, *shape), constant["normal"])

    generated = {}
    for noise, value in constant.items():
        head = _head(candidate_noise=noise)
        found = _aux(head, params, Constant(jax.random.key(0)))
        # With one number for all noise, every candidate is t + value · R, and so is the mixture of them and the text.
        cloud = text.pooled[:, None] + value * found.aux["radius"]
        weights = found.aux["candidate_weights"]
        generated[noise] = weights[..., :1] * text.pooled[:, None] + (1 - weights[..., :1]) * cloud
        pooled = found.aux["pooled"]
        cosine = jnp.sum(generated[noise] * pooled, -1)
        cosine /= jnp.linalg.norm(generated[noise], axis=-1) * jnp.linalg.norm(pooled, axis=-1)
        np.testing.assert_allclose(found.similarity, cosine, atol=1e-5)
    assert np.abs(generated["uniform"] - generated["normal"]).max() > 0.1


def test_support_text_aims_at_the_mean_or_at_the_pairs_own_video():
    rng = np.random.default_rng(0)
    text = jnp.asarray(np.float32(rng.normal(size=(3, WIDTH))))
    pooled = jnp.asarray(np.float32(rng.normal(size=(3, 4, WIDTH))))
    radius = jnp.asarray(np.float32(rng.random((3, 4, WIDTH))))
    head = _head()
    params = head_params(head)
    prepared, ids = PreparedText(jnp.arange(3), text), jnp.arange(4)
    unit = np.asarray(pooled) / np.linalg.norm(pooled, axis=-1, keepdims=True)
    for target in (unit.mean(axis=0), None):
        rows = (prepared, pooled, radius)
        column = None if target is None else jnp.asarray(target)
        found = applied(head, params, rows, (column, ids), method="score_support")
        for i in range(3):
            for v in range(4):
                goal = np.asarray(pooled)[i, v] if target is None else target[v]
                step = (goal - np.asarray(text)[i]) / np.linalg.norm(goal - np.asarray(text)[i])
                moved = np.asarray(text)[i] + np.asarray(radius)[i, v] * step
                expected = moved @ unit[i, v] / np.linalg.norm(moved)
                np.testing.assert_allclose(found[i, v], expected, atol=1e-5)
    mean, own = (_loss(_head(support=support, **NO_GRAPH), params)[1]["support_loss"] for support in ("mean", "own"))
    assert abs(mean - own) > 1e-3


def test_frame_positions_are_added_to_the_graphs_frames_alone():
    params = head_params(_head())
    text, video = features(4)
    draws = Draws(jax.random.key(2))
    without = scores(_head(frame_positions=False), _without(params, "frame_positions"), text, video, draws)
    zero = {**params, "frame_positions": jnp.zeros_like(params["frame_positions"])}
    np.testing.assert_allclose(scores(_head(), zero, text, video, draws), without, atol=1e-6)
    moved = dataclasses.replace(video, frames=video.frames + params["frame_positions"])
    positioned = applied(_head(), params, video, method="prepare_video")
    unpositioned = _head(frame_positions=False)
    by_hand = applied(unpositioned, _without(params, "frame_positions"), moved, method="prepare_video")
    np.testing.assert_allclose(positioned.graph.receive, by_hand.graph.receive, atol=1e-5)
    assert np.abs(positioned.pooling.keys - by_hand.pooling.keys).max() > 1e-3  # pooling sees frames without positions


def test_the_graph_knows_the_order_of_frames_by_their_positions_alone():
    """Frames in another order, all of them real: candidate weights change with positions and not without.

    The radius, which has a weight for each frame, gets the same weight for all.
    """
    params = head_params(_head())
    linear = params["radius"]["linear"]
    even = {**linear, "kernel": jnp.broadcast_to(linear["kernel"].mean(axis=0), linear["kernel"].shape)}
    params = {**params, "radius": {"linear": even}}
    text, video = features(4)
    whole_video = dataclasses.replace(video, mask=jnp.ones_like(video.mask))
    turned = dataclasses.replace(whole_video, frames=whole_video.frames[:, ::-1])
    draws = Draws(jax.random.key(2))

    @functools.partial(jax.jit, static_argnums=0)
    def weights(head, params, video):
        variables = {"params": params}
        texts = head.apply(variables, text, method="prepare_text")
        videos = head.apply(variables, video, method="prepare_video")
        return head.apply(variables, texts, videos, draws, aux=True, method="score").aux["candidate_weights"]

    unordered = _head(frame_positions=False)
    without = _without(params, "frame_positions")
    np.testing.assert_allclose(weights(unordered, without, turned), weights(unordered, without, whole_video), atol=1e-6)
    here = weights(_head(), params, whole_video)
    assert np.abs(weights(_head(), params, turned) - here).max() > 1e-3
    permuted = {**params, "frame_positions": params["frame_positions"][::-1]}
    np.testing.assert_allclose(weights(_head(), permuted, turned), here, atol=1e-6)


def _without(params, name):
    return {key: value for key, value in params.items() if key != name}


def test_the_second_energy_loss_is_made_only_where_it_has_a_weight():
    params = head_params(_head(**NO_GRAPH))
    for weight, calls in ((0.0, 1), (0.5, 2)):
        loss, parts, state = _loss(_head(eam_support_weight=weight, **NO_GRAPH), params)
        assert int(state.calls) == calls and ("eam_support_loss" in parts) == (calls == 2)
        total = parts["match_loss"] + 0.8 * parts["support_loss"] + parts["eam_loss"]
        np.testing.assert_allclose(loss, total + weight * parts.get("eam_support_loss", 0.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("energy", "differs"),
    [("mlp", True), *(pytest.param(energy, False, marks=pytest.mark.long) for energy in ("bilinear", "cosine"))],
)
def test_the_second_energy_call_gets_the_support_text_at_unit_length(energy, differs):
    """Only the MLP energy sees the length; every other part of the loss stays as it is."""
    options = {"energy": energy, "eam_weight": float(differs), **NO_GRAPH}  # one call of two is compiled where alike
    params = head_params(_head(**options))
    heads = [_head(support_unit_length=unit, **options) for unit in (True, False)]
    sides = [_loss(head, params)[1] for head in heads]
    assert {"match_loss", "support_loss", "eam_support_loss"} <= set(sides[0])
    for name in sides[0]:
        gap = abs(float(sides[0][name] - sides[1][name]))
        assert gap > 1e-4 if differs and name == "eam_support_loss" else gap < 1e-5, (name, gap)
    released, paper = (load_config(f"msvd:{preset}").head for preset in ("released", "paper"))
    assert released.support_unit_length and not paper.support_unit_length


def test_released_padding_takes_part_in_the_head():
    text, video = features(4)
    params = head_params(_head())
    noisy = dataclasses.replace(video, frames=jnp.where(video.mask[..., None], video.frames, 3.0))
    draws = Draws(jax.random.key(3))
    for masked in (True, False):
        head = _head(mask_padding=masked)
        change = np.abs(scores(head, params, text, video, draws) - scores(head, params, text, noisy, draws)).max()
        assert change < 1e-5 if masked else change > 1e-3


def test_evaluation_noise_belongs_to_the_text_or_to_the_pair():
    draws = Draws(jax.random.key(4))
    one = draws.normal("x", draws.pair_ids(jnp.arange(3), jnp.arange(5)), (2,))
    assert one.shape == (3, 1, 2)
    per_pair = dataclasses.replace(draws, noise="per_pair")
    each = per_pair.normal("x", per_pair.pair_ids(jnp.arange(3), jnp.arange(5)), (2,))
    assert each.shape == (3, 5, 2) and len(np.unique(np.asarray(each).round(5))) == 30


def test_dropout_keeps_the_mean_and_its_rate():
    draws = Draws(jax.random.key(5), train=True)
    x = jnp.ones((1000, 50))
    for rate in (0.3, 0.5):
        dropped = np.asarray(draws.dropout("d", (jnp.arange(1000),), x, rate))
        assert abs((dropped == 0).mean() - rate) < 0.01
        np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)
    assert draws.dropout("d", (jnp.arange(1000),), x, 0.0) is x
    assert dataclasses.replace(draws, train=False).dropout("d", (jnp.arange(1000),), x, 0.5) is x


@functools.cache
def _preset(preset, *overrides):
    """(head, its parameters, a text and two videos) of MSR-VTT B/32 under a preset, with narrower features."""
    config = load_config(f"msrvtt:b32,{preset}", overrides)
    clip = dataclasses.replace(build_clip_config(config.clip), embed_dim=64)
    head = head_class(config.system).from_config(config.head.to_dict(), clip, config.max_frames)
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(np.float32(rng.normal(size=shape)))

    text = TextFeatures(jnp.arange(2, dtype=jnp.uint32), normal(2, head.width), None, jnp.ones((2, 5), bool))
    frames, mask = normal(2, head.frames, head.width), jnp.ones((2, head.frames), bool)
    video = VideoFeatures(jnp.arange(2, dtype=jnp.uint32), frames, None, mask)
    return head, random_params(head, text, video), text, video


@pytest.mark.parametrize(
    ("preset", "graph_rate", "pooling_rate"), [("ours", 0.5, 0.3), ("released", 0.5, 0.3), ("paper", 0.3, 0.3)]
)
def test_dropout_of_a_preset_is_measured_in_its_training_forward(preset, graph_rate, pooling_rate):
    head, params, text, video = _preset(preset)

    @jax.jit
    def measured(params):
        dropped = {}

        @struct.dataclass
        class Measured(Draws):
            """Records the share of numbers that dropout sets to zero."""

            def dropout(self, name, ids, x, rate):
                result = super().dropout(name, ids, x, rate)
                dropped[name] = jnp.mean(result == 0, where=jnp.broadcast_to(x, result.shape) != 0)
                return result

        variables = {"params": params}
        texts = head.apply(variables, text, method="prepare_text")
        videos = head.apply(variables, video, method="prepare_video")
        head.apply(variables, texts, videos, Measured(jax.random.key(1), train=True), method="score")
        return dropped

    dropped = {name: float(share) for name, share in measured(params).items()}
    pooling = dropped.pop("pooling_dropout")
    assert pooling == pytest.approx(pooling_rate, abs=0.05)
    assert len(dropped) == 2 and list(dropped.values()) == pytest.approx([graph_rate] * 2, abs=0.03)


@pytest.mark.parametrize(("preset", "deviation"), [("ours", 0.005), ("released", 0.005), ("paper", 0.005**0.5)])
def test_langevin_noise_of_a_preset_is_measured_in_one_step(preset, deviation):
    """One step of length zero from a constant start: the samples in the buffer are that constant and the noise."""
    one_step = ("--config.head.sampler.steps=1", "--config.head.sampler.step_size=0.0")
    head, params, text, video = _preset(preset, *one_step, "--config.head.eam_support_weight=0.0")

    @struct.dataclass
    class ConstantStart(Draws):
        """Every uniform number is one half."""

        def uniform(self, name, ids, shape):
            return jnp.full_like(super().uniform(name, ids, shape), 0.5)

    draws = ConstantStart(jax.random.key(1), train=True)

    @jax.jit
    def buffer_after():
        return head.apply({"params": params}, text, video, head.initial_state(), draws, whole, method="loss")[2]

    buffer = buffer_after()
    for samples in (buffer.text[:2], buffer.video[:2]):
        assert float(jnp.std(samples)) == pytest.approx(deviation, rel=0.1)


def test_without_the_graph_a_candidate_is_chosen_as_in_t_mass():
    """Evaluation: the best of S cosines with v(t, F); training: the cosine of one candidate."""
    head = _head(candidate_choice="best")
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), head_params(head))
    text, video = features(4)
    for train in (False, True):
        draws = Draws(jax.random.key(3), train=train)
        found = _aux(head, params, draws)
        noise = np.asarray(draws.uniform("candidates", draws.pair_ids(text.id, video.id), (3, WIDTH)))
        noise = np.broadcast_to(noise, (4, 4, 3, WIDTH))
        cloud = np.asarray(text.pooled)[:, None, None] + noise * np.asarray(found.aux["radius"])[:, :, None]
        pooled = np.asarray(found.aux["pooled"])[:, :, None]
        cosines = np.sum(cloud * pooled, -1) / np.linalg.norm(cloud, axis=-1) / np.linalg.norm(pooled, axis=-1)
        expected = cosines[..., 0] if train else cosines.max(axis=-1)
        np.testing.assert_allclose(found.similarity, expected, atol=1e-5)
        np.testing.assert_allclose(found.aux["candidate_weights"].sum(-1), 1)
        assert np.abs(scores(_head(), params, text, video, draws) - expected).max() > 1e-3


def test_without_energy_aware_matching_nothing_of_it_is_made():
    head = _head(eam_weight=0.0, eam_support_weight=0.0)
    assert "energy_function" not in head_params(head)
    loss, parts, state = _loss(head, head_params(head))
    np.testing.assert_allclose(loss, parts["match_loss"] + 0.8 * parts["support_loss"], rtol=1e-6)
    assert set(parts) == {"match_loss", "support_loss"} and int(state.calls) == 0


@pytest.mark.parametrize("epsilon", [1e-5, 1e-12, 0.5])
def test_the_temporal_transformer_is_added_before_the_mean(epsilon):
    """One block and one head, written out: pre-norm attention among valid frames, then the MLP, added to the frames."""
    _, video = features(4)
    head = Clip4Clip(WIDTH, "transformer", temporal_positions=FRAMES, temporal_layers=1, temporal_heads=1)
    head = head.clone(temporal_epsilon=epsilon)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), head_params(head))
    found = np.asarray(applied(head, params, video, method="prepare_video"))
    plain = np.asarray(applied(Clip4Clip(WIDTH), {}, video, method="prepare_video"))
    weights = jax.tree.map(np.asarray, params["transformer"])
    block = weights["block_0"]

    def norm(x, part):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * part["scale"] + part[
            "bias"
        ]

    for row in range(4):
        frames = np.asarray(video.frames)[row, np.asarray(video.mask)[row]]
        x = frames + weights["positions"][: len(frames)]
        projected = norm(x, block["norm1"]) @ block["attention"]["qkv_kernel"] + block["attention"]["qkv_bias"]
        query, key, value = np.split(projected, 3, axis=-1)
        attention = np.exp(query @ key.T / np.sqrt(WIDTH))
        attended = attention / attention.sum(-1, keepdims=True) @ value
        x = x + attended @ block["attention"]["output"]["kernel"] + block["attention"]["output"]["bias"]
        hidden = norm(x, block["norm2"]) @ block["mlp_up"]["kernel"] + block["mlp_up"]["bias"]
        x = x + hidden / (1 + np.exp(-1.702 * hidden)) @ block["mlp_down"]["kernel"] + block["mlp_down"]["bias"]
        seen = frames + x
        mean = (seen / np.linalg.norm(seen, axis=-1, keepdims=True)).sum(axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)
    assert np.abs(found - plain).max() > 1e-2


def test_the_temporal_transformer_starts_as_the_text_towers_first_blocks():
    config = load_config("demo:tiny,seqtransf")
    system = build_system(config)
    shapes, rng = system.shapes(), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    given = params["head"]["transformer"]
    # The demo's smallest text tower has one block, so a tower of two stands in.
    fitting = {name: jax.tree.map(lambda leaf: leaf + 1.0, given[name]) for name in ("block_0", "block_1")}
    fitting["position_embedding"] = given["positions"] + 1.0
    started = system.head.start_from_clip(params["head"], {"text": fitting})["transformer"]
    for name in ("block_0", "block_1", "positions"):
        jax.tree.map(lambda new, old: np.testing.assert_allclose(new, old + 1.0), started[name], given[name])
    for name in ("block_2", "block_3"):
        jax.tree.map(np.testing.assert_array_equal, started[name], given[name])
    assert started["positions"] is not fitting["position_embedding"]  # a step donates every buffer once
    wider = jax.tree.map(lambda leaf: jnp.tile(leaf, 2), fitting)
    kept = system.head.start_from_clip(params["head"], {"text": wider})["transformer"]
    jax.tree.map(np.testing.assert_array_equal, kept["block_0"], given["block_0"])
