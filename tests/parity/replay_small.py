"""Replays of the optimiser's, the metrics' and the tokenizer's records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax

from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.metrics.postprocess import dual_softmax
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.training.optimizer import make_optimizer

Rows = Iterator[tuple[str, str, Any, Any]]
ORDER = ("R@1", "R@5", "R@10", "MdR", "MnR")


def bert_adam(record: Mapping[str, Any]) -> Rows:
    """Parameters after every step."""
    config = record["config"]
    start = {name.removeprefix("param/"): value for name, value in record.items() if name.startswith("param/")}
    # Our names have slashes; which rate and decay a parameter gets depends on its name.
    ours = {name: name.replace("clip.", "clip/", 1) if name.startswith("clip.") else name for name in start}
    params = {ours[name]: np.float64(value) for name, value in start.items()}
    settings = {
        "name": "bert_adam",
        "head_lr": config["base_lr"],
        "clip_lr": config["clip_lr"],
        "weight_decay": config["weight_decay"],
        "schedule": "cosine",
        "warmup": config["warmup"],
        "global_clip": config["global_clip"],
        "per_tensor_clip": config["per_param_clip"],
        "groups": ((".*", {}),),
    }
    optimizer = make_optimizer(settings, params, config["t_total"])

    @jax.jit
    def updated(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimizer.init)(params)
    step = 0
    while f"step{step}/grad/{next(iter(start))}" in record:
        gradients = {ours[name]: np.float64(record[f"step{step}/grad/{name}"]) for name in start}
        params, state = updated(gradients, state, params)
        for name in start:
            yield f"step{step}/param/{name}", "value", params[ours[name]], record[f"step{step}/param/{name}"]
        step += 1


def metrics(record: Mapping[str, Any]) -> Rows:
    """R@1, R@5, R@10, median and mean rank, both ways; several captions a video; after dual softmax."""
    single, captions = record["single/sims"], record["multi/captions_per_video"]
    text_video = np.repeat(np.arange(len(captions)), captions)
    found = retrieval_metrics(single)
    for side in ("t2v", "v2t"):
        yield f"single/{side}", "value", [found[side][name] for name in ORDER], record[f"single/{side}"]
    softened = retrieval_metrics(dual_softmax(single, temperature=1.0))
    name = "single/t2v_dsl_temperature1"
    yield name, "value", [softened["t2v"][each] for each in ORDER], record[name]
    found = retrieval_metrics(record["multi/sims"], text_video)
    for side in ("t2v", "v2t"):
        yield f"multi/{side}", "value", [found[side][name] for name in ORDER], record[f"multi/{side}"]


def tokens(record: Mapping[str, Any]) -> Rows:
    """Token ids, exactly."""
    found = Tokenizer(record["max_words"]).tokenize(record["strings"])
    yield "ids", "exact", found, np.asarray(record["ids"])
