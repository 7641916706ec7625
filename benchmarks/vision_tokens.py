"""Benchmark of BLIP-2's vision encoder: frames a second, and from it the hours for the clips of a dataset.

    python -m benchmarks.vision_tokens [--frames=2] [--layers=39] [--dtype=bfloat16] [--clips=10000] [--json]

The parameters are constants, which take as long as trained ones. The hours are extrapolated: the frames of all clips by
the measured rate, which does not count reading and writing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import interleaved, machine, median
from eaglenet_jax.clip.eva import EvaConfig, EvaVision
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.data.vision_tokens import TokensHeader
from eaglenet_jax.port.blip2_vision import eva_shapes

SUMMARY = "How many frames a second BLIP-2's vision encoder takes, and how long a dataset takes by that."
CLIP_FRAMES = 12
TINY = {"width": 16, "layers": 1, "heads": 2, "hidden": 24, "image_size": 28}


def measure(config: EvaConfig, frames: int, rounds: int, clips: int) -> dict[str, Any]:
    """Measure the rate on `frames` frames at a time and extrapolate it to `clips` clips of CLIP_FRAMES frames."""
    params = jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.01, config.dtype if leaf.ndim > 1 else jnp.float32), eva_shapes(config)
    )
    size = config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (1, frames, size, size, 3), np.uint8)
    mask = np.ones((1, frames), bool)
    run = jax.jit(EvaVision(config).apply)
    seconds = median(
        interleaved({"encode": lambda: run({"params": params}, pixels, mask).block_until_ready()}, rounds)["encode"]
    )
    rate = frames / seconds
    stored = TokensHeader("", "", clips, CLIP_FRAMES, config.tokens, config.width, "bfloat16")
    return {
        "encoder": dataclasses.asdict(config),
        "parameters": sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)),
        "frames_at_a_time": frames,
        "seconds": seconds,
        "frames_per_second": rate,
        "clips": clips,
        "hours": clips * CLIP_FRAMES / rate / 3600,
        "gigabytes": stored.bytes / 1e9,
    }


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.vision_tokens", description=SUMMARY)
    parser.add_argument("--frames", type=int, default=2, help="frames at a time, default %(default)s")
    parser.add_argument("--layers", type=int, default=39, help="blocks of the encoder, default %(default)s, all")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="default %(default)s")
    parser.add_argument("--clips", type=int, default=10_000, help="of the extrapolation, default %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="default %(default)s; the median counts")
    parser.add_argument("--tiny", action="store_true", help="an encoder of one block that is 16 wide, as a test")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    config = EvaConfig(**TINY, dtype=given.dtype) if given.tiny else EvaConfig(layers=given.layers, dtype=given.dtype)
    found = {"machine": machine(), **measure(config, given.frames, given.rounds, given.clips)}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    where = found["machine"]
    print(
        f"{config.layers} blocks of {config.width} in {config.dtype}, {found['parameters']:,} parameters, on "
        f"{where['device']} ({where['cpu_cores']} CPU cores, load {where['load_average']})\n"
        f"{given.frames} frames in {found['seconds']:.2f} s: {found['frames_per_second']:.3g} frames a second\n"
        f"{given.clips:,} clips of {CLIP_FRAMES} frames, by that rate: {found['hours']:,.1f} hours, "
        f"{found['gigabytes']:,.1f} GB of bfloat16 on disk"
    )


if __name__ == "__main__":
    run_command(main)
