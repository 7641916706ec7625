"""Replay of TS2-Net's record: token shift, selection, a training batch with gradients, an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.clip.token_shift import token_shift
from eaglenet_jax.config.defaults import merged
from eaglenet_jax.config.presets import preset_options
from eaglenet_jax.draws import RecordedDraws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.metrics.postprocess import dual_softmax
from eaglenet_jax.port.sources import source_called
from eaglenet_jax.port.table import Table, to_flax, to_pytorch
from eaglenet_jax.registry import head_class
from eaglenet_jax.system import System

Rows = Iterator[tuple[str, str, Any, Any]]
Record = Mapping[str, Any]


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def _clip_config(sizes: Mapping[str, Any]) -> ClipConfig:
    if sizes["temporal_heads"] != sizes["text_heads"]:
        raise UserError(
            f"config.temporal_heads of the record is {sizes['temporal_heads']}; ours are the {sizes['text_heads']} of "
            "the text tower, as wide as the features"
        )
    return ClipConfig(
        embed_dim=sizes["d"],
        image_size=sizes["image"],
        patch_size=sizes["patch"],
        vision_width=sizes["vision_width"],
        vision_layers=sizes["vision_layers"],
        vision_heads=sizes["vision_heads"],
        text_width=sizes["d"],
        text_layers=sizes["text_layers"],
        text_heads=sizes["text_heads"],
        vocab_size=sizes["vocab"],
        context_length=sizes["context"],
        shift_blocks=tuple(sizes["shift_blocks"]),
        mask_padding=False,
        dtype="float64",
    )


def ts2net(record: Record) -> Rows:
    """Every recorded quantity."""
    sizes = record["config"]
    tensors = {name.removeprefix("param/"): value for name, value in record.items() if name.startswith("param/")}
    table = source_called("ts2net").table({})
    changes = source_called("ts2net").settings(tensors)["head"]
    changes |= {"selected": sizes["topk"], "samples": sizes["samples"], "sigma": sizes["sigma"]}
    clip = _clip_config(sizes)
    frames, words = sizes["frames"], sizes["words"]

    def system(**more: Any) -> System:
        options = merged(preset_options("ts2net", "released", {}), {**changes, **more})
        head = head_class("ts2net").from_config(options, clip, frames)
        return System(Clip(clip), head, words, frames)

    params = _double(to_flax(table, tensors, system().shapes()))
    yield from _shift(record)
    yield from _select(record, system(samples=sizes["select_samples"]), params, table)
    yield from _train(record, system(), params, table)
    yield from _eval(record, system(), params)


def _shift(record: Record) -> Rows:
    for name in sorted(record):
        if name.startswith("shift/") and name.endswith("/in"):
            tokens = _double(record[name])
            found = token_shift(tokens, jnp.ones(tokens.shape[:2], bool))
            yield name.replace("/in", "/out"), "exact", found, record[name.replace("/in", "/out")]


def _noise(recorded: np.ndarray, frames: int, train: bool = False) -> RecordedDraws:
    """Noise (B·M, n, P − 1), frame-major within a video, as ours: by frame, then by video."""
    by_video = recorded.reshape(-1, frames, *recorded.shape[1:])
    return RecordedDraws(train=train, arrays={"selection": _double(np.moveaxis(by_video, 1, 0))})


def _select(record: Record, system: System, params: Any, table: Table) -> Rows:
    head, frames = system.head, record["config"]["frames"]
    tokens = _double(record["select/input"])
    tokens = tokens.reshape(len(tokens), frames, -1, tokens.shape[-1])
    cotangent = _double(record["select/cotangent"])

    def features(tokens: Any) -> VideoFeatures:
        ids = jnp.arange(len(tokens), dtype=jnp.uint32)
        return VideoFeatures(ids, tokens[:, :, 0], tokens[:, :, 1:], jnp.ones(tokens.shape[:2], bool))

    def output(params: Any, tokens: Any, draws: RecordedDraws) -> Any:
        reduced = head.apply({"params": params["head"]}, features(tokens), draws, method="reduce_video")
        return _sequence(reduced)

    @jax.jit
    def run(params: Any, tokens: Any, draws: RecordedDraws) -> Any:
        return head.apply({"params": params["head"]}, features(tokens), draws, method="selection")

    for mode in ("train", "eval"):
        at = f"select/{mode}"
        draws = _noise(record[f"{at}/noise"], frames, train=mode == "train")
        scores, chosen = run(params, tokens, draws)
        recorded = record["select/scores_all_tokens"]
        yield f"{at}/scores_all_tokens", "forward", scores.reshape(recorded.shape), recorded
        recorded = record[f"{at}/indicators"]
        yield f"{at}/indicators", "forward", chosen.reshape(recorded.shape), recorded
        yield f"{at}/output", "forward", jax.jit(output)(params, tokens, draws), record[f"{at}/output"]
    draws = _noise(record["select/train/noise"], frames, train=True)
    gradients, by_input = jax.jit(jax.grad(lambda *given: jnp.sum(output(*given, draws) * cotangent), argnums=(0, 1)))(
        params, tokens
    )
    recorded = record["select/train/grad/input"]
    yield "select/train/grad/input", "slope", by_input.reshape(recorded.shape), recorded
    yield from _gradient_rows(record, "select/train", table, gradients)


def _sequence(video: VideoFeatures) -> Any:
    """The tokens of all frames, (B, q M, d)."""
    tokens = jnp.concatenate([video.frames[:, :, None], video.extra["selected"]], axis=2)
    return tokens.reshape(len(tokens), -1, tokens.shape[-1])


def _batch(record: Record, at: str, mask: Any) -> dict[str, Any]:
    frames = _double(np.moveaxis(record[f"{at}/frames"], 2, -1))
    texts, videos = (jnp.arange(len(each), dtype=jnp.uint32) for each in (record[f"{at}/text_ids"], frames))
    tokens = jnp.asarray(record[f"{at}/text_ids"], jnp.int32)
    return {"text_id": texts, "tokens": tokens, "video_id": videos, "frames": frames, "frame_mask": jnp.asarray(mask)}


def _train(record: Record, system: System, params: Any, table: Table) -> Rows:
    head, sizes = system.head, record["config"]
    draws = _noise(record["train/noise"], sizes["frames"], train=True)
    scale = np.exp(np.float64(record["param/clip.logit_scale"]))

    @jax.jit
    def run(params: Any, batch: Any) -> Any:
        """The steps of the forward pass, the loss and its gradients, in one program."""

        def loss(params: Any) -> Any:
            features = system.encode(params, batch)
            return system.head_loss(params, features, (), draws)[0], features

        (value, (text, video)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        reduced = head.apply({"params": params["head"]}, video, draws, method="reduce_video")
        states = head.apply({"params": params["head"]}, reduced, method="frame_states")
        similarity = _similarity(head, params, text, reduced, draws)
        return (text, video, reduced), (*states, similarity), (value, gradients)

    for at in ("train", "train_full_mask"):
        batch = _batch(record, "train", record[f"{at}/video_mask"].astype(bool))
        (text, video, reduced), (states, counted, similarity), (loss, gradients) = run(params, batch)
        if at == "train":
            yield f"{at}/text_features", "forward", text.pooled, record[f"{at}/text_features"]
            tokens = jnp.concatenate([video.frames[:, :, None], video.patches], axis=2)
            yield f"{at}/image_tokens", "forward", tokens, record[f"{at}/image_tokens"]
            yield f"{at}/selected", "forward", _sequence(reduced), record[f"{at}/selected"]
        yield f"{at}/mask_used_for_frames", "exact", counted, record[f"{at}/mask_used_for_frames"]
        yield f"{at}/frame_states", "forward", states, record[f"{at}/frame_states"]
        yield f"{at}/similarity", "forward", scale * similarity, record[f"{at}/similarity"]
        yield f"{at}/loss", "loss", loss, record[f"{at}/loss"]
        if at == "train":
            yield from _gradient_rows(record, at, table, gradients)


def _gradient_rows(record: Record, at: str, table: Table, gradients: Any) -> Rows:
    """Every recorded gradient and norm; none are recorded where there is no gradient."""
    for name, value in to_pytorch(table, jax.tree.map(np.asarray, gradients)).items():
        if f"{at}/grad/{name}" in record:
            yield f"{at}/grad/{name}", "slope", value, record[f"{at}/grad/{name}"]
        if at == "train":
            norm = record.get(f"{at}/grad_norm/{name}", 0.0)
            yield f"{at}/grad_norm/{name}", "norm", np.linalg.norm(value), norm


def _similarity(head: Head, params: Any, text: TextFeatures, video: VideoFeatures, draws: RecordedDraws) -> Any:
    """Cosines of texts and reduced videos."""
    variables = {"params": params["head"]}
    texts = head.apply(variables, text, method="prepare_text")
    videos = head.apply(variables, video, method="prepare_video")
    scores: Any = head.apply(variables, texts, videos, draws, method="score")
    return scores.similarity


def _eval(record: Record, system: System, params: Any) -> Rows:
    head = system.head
    count = len(record["eval/frames"])
    draws = _noise(record["eval/noise"], record["config"]["frames"])
    batch = _batch(record, "eval", np.ones((count, record["config"]["frames"]), bool))

    @jax.jit
    def scores(params: Any, batch: Any) -> Any:
        text, video = system.encode(params, batch)
        video = head.apply({"params": params["head"]}, video, draws, method="reduce_video")
        return _similarity(head, params, text, video, draws)

    scaled = np.exp(np.float64(record["param/clip.logit_scale"])) * np.asarray(scores(params, batch))
    yield "eval/similarity", "forward", scaled, record["eval/similarity"]
    yield "eval/similarity_dsl", "value", dual_softmax(scaled, temperature=1.0), record["eval/similarity_dsl"]
