"""The heads' tables: what was recorded comes out again when the released names are read through them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws, RecordedDraws
from eaglenet_jax.energy.functions import Energy
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.rgat import GraphShape
from eaglenet_jax.port.heads import eaglenet_settings
from eaglenet_jax.port.sources import SOURCES
from eaglenet_jax.port.table import to_flax, to_pytorch
from tests.port.released import eaglenet, parameters, record_config, xpool

RECORDS = ("eaglenet_msrvtt", "eaglenet_mlp_noframepe", "eaglenet_gat_max", "eaglenet_softmax_loss")


def features(text, video):
    ids, video_ids = jnp.arange(len(text), dtype=jnp.uint32), jnp.arange(len(video), dtype=jnp.uint32)
    words = TextFeatures(ids, jnp.asarray(text), None, jnp.ones((len(text), 1), bool))
    return words, VideoFeatures(video_ids, jnp.asarray(video), None, jnp.ones(video.shape[:2], bool))


def without_clip(tensors):
    """The head alone: its logit scale is the only tensor of `clip.` that it reads."""
    return {name: array for name, array in tensors.items() if name == "clip.logit_scale" or name[:5] != "clip."}


@pytest.fixture(scope="module", params=RECORDS)
def read(request, golden):
    tensors = without_clip(eaglenet(golden, request.param))
    settings = eaglenet_settings(tensors)
    config = record_config(golden, request.param)
    options = settings["head"]
    rows = options["sampler"]["buffer_rows"]
    head = EagleNet(
        width=config["d"],
        frames=settings["max_frames"],
        graph=GraphShape(config["d"], **options["graph"]),
        candidates=config["S"],
        candidate_noise={"normal": "normal", "uniform01": "uniform"}[config["prior"]],
        frame_positions=options["frame_positions"],
        loss_kind=options["loss_kind"],
        energy=options["energy"],
        energy_pooling=config["pooling"],
    )
    text, video = features(np.zeros((2, config["d"])), np.zeros((2, config["nf"], config["d"])))
    expected = {
        "head": head_shapes(head, text, video),
        "head_state": {"text": np.empty((rows, config["d"])), "video": np.empty((rows, config["nf"], config["d"]))},
    }
    tree = to_flax(SOURCES["eaglenet"].table(options), tensors, expected)
    return request.param, config, settings, head, tensors, tree


def head_shapes(head, text, video):
    def start(key):
        draws = Draws(key, train=True)
        return head.init(key, text, video, head.initial_state(), draws, whole, method="loss")["params"]

    return jax.eval_shape(start, jax.random.key(0))


def test_settings_are_read_off_the_shapes(read):
    _, config, settings, *_ = read
    head = settings["head"]
    assert settings["max_frames"] == config["nf"]
    assert head["graph"] == {"layers": config["L"], "kind": config["gnn_type"], "heads": config["H"]}
    assert head["energy"] == config["energy_fn"]
    assert head["frame_positions"] == bool(config["framepe"])
    assert head["loss_kind"] == {"sig": "sigmoid", "clip": "softmax"}[config["loss_fn"]]
    assert head["sampler"] == {"buffer_rows": config["buf"]}


def test_similarities_of_the_record(read, golden):
    name, _, _, head, _, tree = read
    record = golden(name)
    text, video = features(record["text"], record["video"])
    draws = RecordedDraws(arrays={"candidates": jnp.asarray(record["eval/candidate_noise"].transpose(1, 2, 0, 3))})

    @jax.jit
    def score(params):
        variables = {"params": params}
        texts = head.apply(variables, text, method="prepare_text")
        videos = head.apply(variables, video, method="prepare_video")
        return head.apply(variables, texts, videos, draws, method="score").similarity

    np.testing.assert_allclose(score(tree["head"]), record["eval/logits"], rtol=0, atol=1e-5)


def test_energies_are_those_of_the_released_layers(read, golden):
    name, config, _, _, tensors, tree = read
    record = golden(name)
    text, frames = record["text"].astype(np.float64), record["video"].astype(np.float64)

    def layer(x, prefix):
        return x @ tensors[f"{prefix}.weight"].T + tensors[f"{prefix}.bias"]

    if config["energy_fn"] == "mlp":
        both = np.concatenate([frames, np.broadcast_to(text[:, None], frames.shape)], axis=-1)
        by_frame = layer(np.maximum(layer(both, "ebm.energy_net.0"), 0), "ebm.energy_net.2")[..., 0]
    else:
        unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (text, frames)]
        by_frame = -np.sum(layer(unit[0], "ebm.energy_net")[:, None] * unit[1], axis=-1)
    expected = {"avg": np.mean, "max": np.max, "min": np.min}[config["pooling"]](by_frame, axis=1)
    energy = Energy(config["d"], config["energy_fn"], config["pooling"])
    mask = jnp.ones(frames.shape[:2], bool)
    params = {"params": tree["head"]["energy_function"]}
    ours = energy.apply(params, jnp.asarray(record["text"]), jnp.asarray(record["video"]), mask)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_the_way_back_is_bit_exact(read, golden):
    name, *_, tree = read
    back = to_pytorch(SOURCES["eaglenet"].table({"loss_kind": read[2]["head"]["loss_kind"]}), tree)
    recorded = parameters(golden, name)
    unused = {"stochastic.std_branch.learnable_scalar"}
    unused |= {"clip.logit_scale"} if "loss_fct.bias" in recorded else set()
    assert back.keys() == recorded.keys() - unused
    for key, array in back.items():
        assert array.shape == recorded[key].shape and array.tobytes() == recorded[key].tobytes(), key


def test_xpool_similarities_of_the_record(golden):
    record, tensors = golden("xpool_tmass"), without_clip(xpool(golden))
    head = XPool(32)
    text, video = features(record["text"], record["video"])
    shapes = head_shapes(head, text, video)
    tree = to_flax(SOURCES["xpool"].table({}), tensors, {"head": shapes})

    @jax.jit
    def score(params):
        variables = {"params": params}
        videos = head.apply(variables, video, method="prepare_video")
        texts = head.apply(variables, text, method="prepare_text")
        return head.apply(variables, texts, videos, RecordedDraws(arrays={}), method="score").similarity

    np.testing.assert_allclose(score(tree["head"]), record["xpool/similarity"], rtol=0, atol=1e-5)
