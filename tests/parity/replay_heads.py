"""Replays of the heads' records: EagleNet, X-Pool, T-MASS."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip.config import NAMED_SIZES, ClipConfig
from eaglenet_jax.config.defaults import merged
from eaglenet_jax.config.presets import preset_options
from eaglenet_jax.draws import Draws, RecordedDraws
from eaglenet_jax.energy.replay_buffer import ReplayBuffer
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, PreparedText, TextFeatures, VideoFeatures, whole
from eaglenet_jax.layers.similarity import unit
from eaglenet_jax.layers.stochastic_text import toward
from eaglenet_jax.port import sources
from eaglenet_jax.port.table import Table, to_flax, to_pytorch
from eaglenet_jax.registry import head_class

Rows = Iterator[tuple[str, str, Any, Any]]


# Names of energies that the program may have written; golden/README.md does not list them.
ENERGIES = {"cos": "cosine", "cosine": "cosine", "cossim": "cosine", "bilinear": "bilinear", "mlp": "mlp"}
ALMOST_NOTHING = 1e-300  # weight of an energy loss that the program computes though its weight is 0


def _word(config: Mapping[str, Any], name: str, words: Mapping[str, str]) -> str:
    """Our word for an option of the program. UserError for one that is not known."""
    if config.get(name) not in words:
        raise UserError(f"config.{name} of the record is {config.get(name)!r}; known are {', '.join(words)}")
    return words[config[name]]


def _energy_calls(record: Mapping[str, Any]) -> int:
    """How often the first training step draws samples of the energy: starts of video and text, then the noise."""
    drawn = sum(name.startswith("train0/draw/") for name in record) - 1  # without that of the candidates
    return -(-drawn // (3 + 2 * record["config"]["steps"])) if drawn > 0 else 0


def _released_options(system: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return merged(preset_options(system, "released", {}), changes)


def _widths(d: int) -> ClipConfig:
    """The sizes of a CLIP with features [d], of which heads take no more."""
    return dataclasses.replace(NAMED_SIZES["ViT-B/32"], embed_dim=d)


def _features(text: Any, video: Any) -> tuple[TextFeatures, VideoFeatures]:
    texts, videos = (jnp.arange(len(each), dtype=jnp.uint32) for each in (text, video))
    mask = jnp.ones(video.shape[:2], bool)
    return TextFeatures(texts, text, None, jnp.ones((len(text), 1), bool)), VideoFeatures(videos, video, None, mask)


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def _parameters(head: Head, table: Table, record: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """{"head": …, "head_state": …} in float64, from the record's `param/NAME`, strictly."""
    text, video = _features(jnp.zeros(record["text"].shape), jnp.zeros(record["video"].shape))

    def init(key: jax.Array) -> Any:
        draws = Draws(key, train=True)
        return head.init(key, text, video, head.initial_state(), draws, whole, method="loss").get("params", {})

    expected = {"head": jax.eval_shape(init, jax.random.key(0)), **state}
    tensors = {name.removeprefix("param/"): value for name, value in record.items() if name.startswith("param/")}
    return _double(to_flax(table, tensors, expected))


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def _applied(head: Head, params: Any, *arguments: Any, method: str) -> Any:
    return head.apply({"params": params}, *arguments, method=method)


@functools.partial(jax.jit, static_argnums=0)
def _score(head: Head, params: Any, text: TextFeatures, video: VideoFeatures, draws: RecordedDraws) -> Any:
    variables = {"params": params}
    texts = head.apply(variables, text, method="prepare_text")
    videos = head.apply(variables, video, method="prepare_video")
    return head.apply(variables, texts, videos, draws, method="score", aux=True)


def _differentiated(head: Head) -> Any:
    """(params, text, video, state, draws) → loss, parts, state and the gradients by params, text and video."""

    def loss(params: Any, text: Any, video: Any, state: Any, draws: Any) -> Any:
        value, parts, state = head.apply(
            {"params": params}, *_features(text, video), state, draws, whole, method="loss"
        )
        return value, (parts, state)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


# EagleNet ------------------------------------------------------------------------------------------------------------


def eaglenet(record: Mapping[str, Any]) -> Rows:
    """Similarities in evaluation, then two losses in a row with their parts, gradients and buffers."""
    config = record["config"]
    options = _released_options(
        "eaglenet",
        {
            "candidates": config["S"],
            "candidate_noise": _word(config, "prior", {"normal": "normal", "uniform01": "uniform"}),
            "frame_positions": bool(config["framepe"]),
            "pooling_heads": config["pool_heads"],
            "pooling_dropout": 0.0,
            "support_weight": config["sup"],
            "loss_kind": _word(config, "loss_fn", {"sig": "sigmoid", "clip": "softmax"}),
            "energy": _word(config, "energy_fn", ENERGIES),
            "energy_pooling": _word(config, "pooling", {"avg": "avg", "mean": "avg", "max": "max", "min": "min"}),
            "eam_weight": config["eamw"] or (ALMOST_NOTHING if _energy_calls(record) > bool(config["eamsup"]) else 0.0),
            "eam_support_weight": config["eamsup"],
            "graph": {
                "kind": _word(config, "gnn_type", {"rgat": "rgat", "gat": "gat"}),
                "layers": config["L"],
                "heads": config["H"],
                "dropout_rate": 0.0,
            },
            "sampler": {"steps": config["steps"], "buffer_rows": config["buf"]},
        },
    )
    head = head_class("eaglenet").from_config(options, _widths(config["d"]), config["nf"])
    table = sources.source_called("eaglenet").table(options)
    buffers = ("ebm.replay_buffer_txt", "ebm.replay_buffer_vid")
    state_shapes = {"text": record[f"param/{buffers[0]}"], "video": record[f"param/{buffers[1]}"]}
    tree = _parameters(head, table, record, {"head_state": state_shapes})
    text, video = _double((record["text"], record["video"]))

    noise = _double(np.moveaxis(record["eval/candidate_noise"], 0, 2))
    draws = RecordedDraws(arrays={"candidates": noise})
    found = _score(head, tree["head"], *_features(text, video), draws)
    yield "eval/logits", "value", found.similarity, record["eval/logits"]

    state = ReplayBuffer(
        **tree["head_state"], valid_rows=jnp.asarray(config["buf"], jnp.int32), calls=jnp.asarray(0, jnp.int32)
    )
    differentiate = _differentiated(head)
    for step in range(sum(f"train{step}/loss" in record for step in (0, 1))):
        arrays = _double(_eaglenet_draws(record, step, int(state.calls)))
        if "buffer_rows" in arrays:
            arrays["buffer_rows"] = arrays["buffer_rows"].astype(jnp.int32)
        draws = RecordedDraws(arrays=arrays)
        scores = _score(head, tree["head"], *_features(text, video), draws)
        (loss, (parts, state)), gradients = differentiate(tree["head"], text, video, state, draws)
        scale = np.exp(record["param/clip.logit_scale"]) if options["loss_kind"] == "softmax" else 1.0
        at = f"train{step}"
        yield f"{at}/logits", "value", scale * scores.similarity, record[f"{at}/logits"]
        support = _support(head, tree["head"], text, scores)
        yield f"{at}/support_logits", "value", scale * support, record[f"{at}/support_logits"]
        for name in ("match_loss", "support_loss", "eam_loss", "eam_support_loss"):
            if f"{at}/{name}" in record:
                # A term of weight zero is not computed here, and recorded as zero there.
                yield f"{at}/{name}", "value", parts.get(name, 0.0), record[f"{at}/{name}"]
        yield f"{at}/loss", "value", loss, record[f"{at}/loss"]
        yield from _gradient_rows(record, f"{at}/grad", table, gradients)
        yield f"{at}/buffer_text", "gradient", state.text, record[f"{at}/buffer_text"]
        yield f"{at}/buffer_video", "gradient", state.video, record[f"{at}/buffer_video"]


def _support(head: Head, params: Any, text: Any, scores: Any) -> Any:
    pooled = scores.aux["pooled"]
    ids = jnp.arange(len(text), dtype=jnp.uint32)
    rows = (PreparedText(ids, text), pooled, scores.aux["radius"])
    columns = (jnp.mean(unit(pooled), axis=0), jnp.arange(pooled.shape[1], dtype=jnp.uint32))
    return _applied(head, params, rows, columns, method="score_support")


def _eaglenet_draws(record: Mapping[str, Any], step: int, calls: int) -> dict[str, np.ndarray]:
    """The draws of one loss in their call order, by our names; leading axis: the energy call."""
    config = record["config"]
    prefix = f"train{step}/draw/"
    queue = [(name, record[name]) for name in sorted(record) if name.startswith(prefix)]
    texts, videos = len(record["text"]), len(record["video"])
    _, candidates = queue.pop(0)
    by_pair = candidates.reshape(config["S"], texts, videos, config["d"])
    drawn: dict[str, list[np.ndarray]] = {
        name: [] for name in ("buffer_rows", "fresh_text", "fresh_video", "langevin_text", "langevin_video")
    }
    while queue:
        if calls == 0:
            order = np.arange(config["buf"])
        else:
            name, order = queue.pop(0)
            if "randperm" not in name:
                raise ValueError(f"{name} stands where a permutation of the buffer rows was expected")
        # Only chains that take no buffer row have a fresh start; the others' places are filled with zeros.
        fresh_video, fresh_text = (
            np.concatenate([np.zeros((texts - len(drawn_rows), *drawn_rows.shape[1:])), drawn_rows])
            for drawn_rows in (queue.pop(0)[1], queue.pop(0)[1])
        )
        steps = [queue.pop(0)[1] for _ in range(2 * config["steps"])]
        drawn["buffer_rows"].append(order)
        drawn["fresh_text"].append(fresh_text)
        drawn["fresh_video"].append(fresh_video)
        drawn["langevin_video"].append(np.stack(steps[0::2]))
        drawn["langevin_text"].append(np.stack(steps[1::2]))
        calls += 1
    stacked = {name: np.stack(each) for name, each in drawn.items() if each}
    return {"candidates": np.moveaxis(by_pair, 0, 2), **stacked}


def _gradient_rows(record: Mapping[str, Any], prefix: str, table: Table, gradients: Any) -> Rows:
    """Every recorded gradient, and a zero for every parameter of ours that has none there."""
    yield from _feature_gradients(record, prefix, gradients)
    for name, value in to_pytorch(table, {"head": jax.tree.map(np.asarray, gradients[0])}).items():
        recorded = record.get(f"{prefix}/{name}", np.zeros(value.shape))
        yield f"{prefix}/{name}", "gradient", value, recorded


def _feature_gradients(record: Mapping[str, Any], prefix: str, gradients: Any) -> Rows:
    _, text, video = gradients
    yield f"{prefix}/text", "gradient", text, record[f"{prefix}/text"]
    yield f"{prefix}/video", "gradient", video, record[f"{prefix}/video"]


# X-Pool and T-MASS ---------------------------------------------------------------------------------------------------


def xpool_and_tmass(record: Mapping[str, Any]) -> Rows:
    """Both systems on the same parameters and features."""
    config = record["config"]
    options = {"pooling_heads": config["heads"], "pooling_dropout": 0.0}
    text, video = _double((record["text"], record["video"]))
    moved = {**record, "param/clip.logit_scale": record["param/logit_scale"]}
    del moved["param/logit_scale"]

    def opened(system: str, changes: Mapping[str, Any]) -> tuple[Head, Any]:
        chosen = _released_options(system, changes)
        head = head_class(system).from_config(chosen, _widths(config["d"]), config["nf"])
        table = sources.source_called(system).table(chosen)
        # Both systems' parameters are in one file; X-Pool has no radius.
        tensors = {name: value for name, value in moved.items() if system == "tmass" or "std_branch" not in name}
        return head, _parameters(head, table, tensors, {})["head"]

    head, params = opened("xpool", options)
    found = _score(head, params, *_features(text, video), RecordedDraws(arrays={}))
    yield "xpool/similarity", "value", found.similarity, record["xpool/similarity"]
    (loss, _), gradients = _differentiated(head)(params, text, video, (), RecordedDraws(arrays={}))
    yield "xpool/loss", "value", loss, record["xpool/loss"]
    yield from _feature_gradients(record, "xpool/grad", gradients)

    head, params = opened(
        "tmass", {**options, "samples": config["trials"], "support_weight": config["support_loss_weight"]}
    )
    evaluation_noise = np.transpose(record["tmass/eval_noise_video_trial_text"], (2, 0, 1, 3))
    draws = RecordedDraws(arrays=_double({"stochastic_text": record["tmass/noise"], "samples": evaluation_noise}))
    texts, videos = _features(text, video)
    own = jnp.einsum("bd,bmd->bm", *(each / jnp.linalg.norm(each, axis=-1, keepdims=True) for each in (text, video)))
    linear = params["radius"]["linear"]
    yield "tmass/log_radius", "value", own @ linear["kernel"] + linear["bias"], record["tmass/log_radius"]
    prepared = _applied(head, params, texts, method="prepare_text")
    prepared_video = _applied(head, params, videos, method="prepare_video")
    stochastic = text + jnp.exp(own @ linear["kernel"] + linear["bias"]) * _double(record["tmass/noise"])
    rows = (prepared, stochastic)
    similarity, pooled = _applied(head, params, rows, prepared_video, draws, method="score_training")
    yield "tmass/train_similarity", "value", similarity, record["tmass/train_similarity"]
    support = toward(text, jnp.mean(pooled, axis=0), jnp.exp(own @ linear["kernel"] + linear["bias"]))
    scores = _applied(head, params, (support, pooled), (), method="score_support")
    yield "tmass/support_similarity", "value", scores, record["tmass/support_similarity"]
    (loss, (parts, _)), gradients = _differentiated(head)(params, text, video, (), draws)
    yield "tmass/loss_stochastic", "value", parts["match_loss"], record["tmass/loss_stochastic"]
    yield "tmass/loss_support", "value", parts["support_loss"], record["tmass/loss_support"]
    yield "tmass/loss", "value", loss, record["tmass/loss"]
    yield from _feature_gradients(record, "tmass/grad", gradients)
    found = _score(head, params, texts, videos, draws)
    yield "tmass/eval_similarity", "value", found.similarity, record["tmass/eval_similarity"]
