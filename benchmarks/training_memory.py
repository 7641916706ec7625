"""Benchmark of the memory of EagleNet's pairwise loss and its gradient: dense, folded, and folded in row blocks.

    python -m benchmarks.training_memory [--json] [--time]

The compiler's memory analysis of the compiled program, which is never run: temporaries, without parameters, features
and gradients. The pairwise part is everything but energy-aware matching: similarities, support similarities and both
sigmoid losses, with candidate noise and dropout as in training. --time runs dense and folded where both fit.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.dense_head import DenseEagleNet
from benchmarks.measure import interleaved, machine, median
from benchmarks.random_features import Sizes, gallery, one_pair, released_fields
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import Pairwise, whole
from eaglenet_jax.training.pairwise import make_pairwise

SUMMARY = "Memory of the pairwise part of the loss with its gradient, by the compiler."
WAYS = ("dense", "folded", "folded, blocks of 8 texts", "folded, blocks of 1 text")
TIMED_WAYS = WAYS
BATCHES = ((64, 12), (64, 64), (256, 12))  # batch, frames
TIMED_BATCHES = ((8, 12), (16, 12), (8, 64))


def pairwise_loss(sizes: Sizes, way: str) -> tuple[EagleNet, Callable[..., Any]]:
    """Return the head, and (params, text, frames, key) → loss and its gradient by params, text and frames."""
    kind = DenseEagleNet if way == "dense" else EagleNet
    head = kind(**released_fields(sizes), eam_weight=0.0, eam_support_weight=0.0)
    pairwise: Pairwise = whole
    if "blocks of" in way:
        pairwise = make_pairwise(block=int(way.split("blocks of ")[1].split()[0]))
    texts, videos = one_pair(head)

    def loss(params: Any, text: jax.Array, frames: jax.Array, key: jax.Array) -> jax.Array:
        count = len(text)
        ids = jnp.arange(count, dtype=jnp.uint32)
        batch = (
            dataclasses.replace(texts, id=ids, pooled=text, mask=jnp.ones((count, 1), bool)),
            dataclasses.replace(videos, id=ids, frames=frames, mask=jnp.ones(frames.shape[:2], bool)),
        )
        draws = Draws(key, train=True)
        value, _, _ = head.apply(  # type: ignore[misc]
            {"params": params}, *batch, head.initial_state(), draws, pairwise, method="loss"
        )
        return value

    return head, jax.value_and_grad(loss, argnums=(0, 1, 2))


def initial_params(head: EagleNet) -> Any:
    """Initialise the parameters of the pairwise part."""
    key = jax.random.key(0)
    return head.init(key, *one_pair(head), head.initial_state(), Draws(key), whole, method="loss")["params"]


def temporary_bytes(sizes: Sizes, way: str) -> int:
    """Return bytes of temporaries of loss and gradient by the compiler's memory analysis. sizes.texts: the batch."""
    head, function = pairwise_loss(sizes, way)
    params = jax.eval_shape(lambda: initial_params(head))
    text = jax.ShapeDtypeStruct((sizes.texts, sizes.width), jnp.float32)
    frames = jax.ShapeDtypeStruct((sizes.texts, sizes.frames, sizes.width), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = jax.jit(function).lower(params, text, frames, key).compile()
    memory: Any = compiled.memory_analysis()
    return int(memory.temp_size_in_bytes)


def seconds_of_a_step(sizes: Sizes, ways: Sequence[str], rounds: int) -> dict[str, float]:
    """Measure median seconds of loss and gradient, the implementations in turn in every round."""
    texts, videos = gallery(sizes)
    runs = {}
    for way in ways:
        head, function = pairwise_loss(sizes, way)
        arguments = (jax.jit(lambda head=head: initial_params(head))(), texts.pooled, videos.frames, jax.random.key(1))
        runs[way] = functools.partial(_finished, jax.jit(function), arguments)
    return {way: median(times) for way, times in interleaved(runs, rounds).items()}


def _finished(step: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    return jax.block_until_ready(step(*arguments))


def _sizes(given: argparse.Namespace, batch: int, frames: int) -> Sizes:
    return Sizes(frames, given.candidates, batch, batch, given.width)


def main(arguments: Sequence[str]) -> None:
    """Print the memory table, and the times on request."""
    parser = Parser(prog="python -m benchmarks.training_memory", description=SUMMARY)
    batches = lambda text: [tuple(map(int, one.split("x"))) for one in text.split(",")]  # noqa: E731
    parser.add_argument("--batches", type=batches, default=BATCHES, help="batch x frames, default 64x12,64x64,256x12")
    parser.add_argument("--timed-batches", type=batches, default=TIMED_BATCHES, help="default 8x12,16x12,8x64")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", action="store_true", help="also run dense and folded at --timed-batches")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    memory = []
    for batch, frames in given.batches:
        sizes = _sizes(given, batch, frames)
        memory.append({"batch": batch, "frames": frames, "bytes": {way: temporary_bytes(sizes, way) for way in WAYS}})
    result: dict[str, Any] = {"machine": machine(), "memory": memory, "seconds": []}
    for batch, frames in given.timed_batches if given.time else ():
        seconds = seconds_of_a_step(_sizes(given, batch, frames), TIMED_WAYS, given.rounds)
        result["seconds"].append({"batch": batch, "frames": frames, "seconds": seconds})
    print(json.dumps(result, indent=1) if given.json else table(result))


def table(result: dict[str, Any]) -> str:
    """Format memory and times."""
    lines = []
    for title, key, unit in (("temporaries, GiB", "bytes", 2.0**30), ("loss and gradient, seconds", "seconds", 1.0)):
        rows = result["memory" if key == "bytes" else "seconds"]
        if rows:
            lines.append(f"{title:30}" + "".join(f"{way:>27}" for way in rows[0][key]))
        for row in rows:
            name = f"batch {row['batch']} × {row['frames']} frames"
            lines.append(f"{name:30}" + "".join(f"{value / unit:27.3f}" for value in row[key].values()))
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
