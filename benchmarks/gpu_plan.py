"""Prediction of what scoring and a training step cost on a GPU, from programs that XLA compiles for a described H200.

    python -m benchmarks.gpu_plan [--what=scoring,pairs,step,devices,heads,configs] [--tiny] [--out FILE]

No GPU is used or needed, only jax's CUDA plugin (pip install -e '.[cuda12]'). It prints the bytes that pass through
memory, temporaries, the operations that move most, and the seconds that follow from assumed peaks. Nothing is tuned as
on a real GPU, so all of it is a prediction. "pairs" compiles the loss of all pairs with its gradient, in both forms of
the graph. "devices" compiles for 8 and 16 GPUs and counts their collectives. "heads" compiles each head at tiny sizes,
"configs" each config with each of its systems at full size (minutes each): a program that does not compile ends the
command with an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from benchmarks.compiled_program import Program
from benchmarks.described_gpu import H200, allow_compiling, described_mesh
from benchmarks.gpu_cases import compiled_block, compiled_pairs, compiled_scoring, compiled_step, step_config
from benchmarks.random_features import Sizes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.config.loading import config_names
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import HEADS

SUMMARY = "What scoring and training cost on a described GPU: a prediction by the compiler."
WHAT = ("scoring", "pairs", "step", "devices", "heads", "configs")
LISTED = 10
BLOCK = {"texts": 64, "videos": 128}
TINY = {"frames": 3, "candidates": 3, "texts": 4, "videos": 8, "width": 16, "heads": 2}
# name: type, frames, who computes products, kernel. XLA gives up on Triton in float32 at precision `highest`.
SCORING = {
    "bfloat16, M = 12": ("bfloat16", 12, "triton", "none"),
    "bfloat16, M = 12, kernel": ("bfloat16", 12, "triton", "triton"),
    "bfloat16, M = 12, cuBLAS": ("bfloat16", 12, "cublas", "none"),
    "bfloat16, M = 12, cuBLAS, kernel": ("bfloat16", 12, "cublas", "triton"),
    "bfloat16, M = 64": ("bfloat16", 64, "triton", "none"),
    "bfloat16, M = 64, kernel": ("bfloat16", 64, "triton", "triton"),
    "float32 highest, M = 12": ("float32", 12, "cublas", "none"),
    "float32 highest, M = 12, kernel": ("float32", 12, "cublas", "triton"),
}
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "B/16, bfloat16, remat": ("msrvtt:b16", {"clip__dtype": "bfloat16", "clip__remat": True}),
    "B/16, bfloat16": ("msrvtt:b16", {"clip__dtype": "bfloat16"}),
    "B/32, bfloat16": ("msrvtt:b32", {"clip__dtype": "bfloat16"}),
    "B/32, float32": ("msrvtt:b32", {}),
}
DEVICES = (8, 16)


def described(program: Any, dtype: str, per: int) -> dict[str, Any]:
    """Describe a compiled program. per: the pairs or clips of each device that its numbers are divided by."""
    parsed = Program(program.as_text())
    costs = parsed.costs()
    memory, peak = program.memory_analysis(), H200.flops(dtype)
    moved, flops = sum(cost.moved for cost in costs), sum(cost.times * cost.flops for cost in costs)
    return {
        "bytes": moved / per,
        "flops": flops / per,
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "operations": len(costs),
        "memory_seconds": moved / per / H200.bytes_per_second,
        "arithmetic_seconds": flops / per / peak,
        "seconds": sum(cost.seconds(H200.bytes_per_second, peak) for cost in costs) / per,
        "collectives": {
            kind: {
                "count": sum(cost.times for cost in sent),
                "bytes": sum(cost.times * cost.read for cost in sent),
            }
            for kind, sent in parsed.collectives().items()
        },
        "largest": [
            {
                "operation": cost.operation.kind,
                "result": cost.operation.shape.split("{")[0].lstrip("("),
                "source": "/".join(cost.operation.source.split("/")[-2:]),
                "times": cost.times,
                "bytes": cost.moved / per,
                "flops": cost.times * cost.flops / per,
            }
            for cost in costs[:LISTED]
        ],
    }


def scoring(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe the scoring of a block by EagleNet, a pair."""
    cases = list(SCORING.items())
    for name, (dtype, frames, products, kernel) in cases[:2] if tiny else cases:
        sizes = Sizes(**TINY) if tiny else Sizes(frames=frames, **BLOCK)
        program = compiled_scoring(sizes, dtype, described_mesh(), products, kernel)
        found = described(program, dtype, sizes.texts * sizes.videos)
        yield name, found | ({} if kernel == "none" else {"shared_bytes": shared_bytes(sizes, dtype)})


def shared_bytes(sizes: Sizes, dtype: str) -> int:
    """Count what each program of the kernel reads of arrays that pairs share, in bytes a pair.

    A compiled program shows a kernel's arrays once, and so do the bytes of `described`: these come on top if no cache
    holds what another pair has read. Of the video, values and the part before the messages, two logits a head and frame
    and the mask; of the second layer, two vectors a head.
    """
    of_video = 2 * sizes.frames * sizes.width
    logits = sizes.frames * (2 * sizes.heads + 1) * 4
    return (of_video + 2 * sizes.width * sizes.heads) * jnp.dtype(dtype).itemsize + logits


def pairs(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe the loss of all pairs of a batch with its gradient, a pair, in both forms of the graph."""
    for frames in (TINY["frames"],) if tiny else (12, 64):
        sizes = Sizes(**TINY) if tiny else Sizes(frames=frames, texts=64, videos=64)
        for few_reads in (True, False):
            program = compiled_pairs(sizes, described_mesh(), few_reads)
            name = f"M = {sizes.frames}, {'few reads' if few_reads else 'mixed first'}"
            yield name, described(program, "tensorfloat32", sizes.texts**2)


def step(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe EagleNet's whole training step, a clip."""
    cases: dict[str, tuple[str, dict[str, Any]]] = {"tiny": ("demo:tiny", {})} if tiny else STEPS
    for name, (config, fields) in cases.items():
        loaded = step_config(config, **fields)
        yield (
            name,
            described(
                compiled_step(loaded, described_mesh()), loaded.clip.get("dtype") or "float32", loaded.batch_size
            ),
        )


def devices(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe scoring and the training step on several GPUs, a pair and a clip of each."""
    for count in DEVICES[:1] if tiny else DEVICES:
        sizes, mesh = Sizes(**TINY) if tiny else Sizes(**BLOCK), described_mesh(count)
        program = compiled_scoring(sizes, "bfloat16", mesh, "triton")
        yield f"scoring on {count}, bfloat16", described(program, "bfloat16", sizes.texts * sizes.videos)
        for params in ("replicated", "fsdp"):
            fields: dict[str, Any] = {"sharding__params": params}
            config = step_config("demo:tiny", batch_size=2 * count, **fields) if tiny else None
            if config is None:
                fields |= {"clip__dtype": "bfloat16", "clip__remat": True, "batch_size": 64 * count}
                config = step_config("msrvtt:b16", **fields)
            found = described(compiled_step(config, mesh), "bfloat16", config.batch_size // count)
            yield f"step on {count}, {params}", found


def heads(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compile scoring and training step of every head at tiny sizes."""
    del tiny
    for name in HEADS:
        config, mesh = step_config(f"demo:tiny,{name}"), described_mesh()
        yield f"{name}, a pair", described(compiled_block(config, 4, 6, mesh), "float32", 24)
        yield f"{name}, a clip", described(compiled_step(config, mesh), "float32", config.batch_size)


def configs(tiny: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compile the training step of every config with every system, in bfloat16."""
    names = ["demo"] if tiny else [name for name in config_names() if "/" not in name]
    for name in names:
        for system in ("xpool",) if tiny else SYSTEMS:
            config = step_config(f"{name}:tiny,{system}" if tiny else f"{name}:{system}", clip__dtype="bfloat16")
            yield f"{name}:{system}", described(compiled_step(config, described_mesh()), "bfloat16", config.batch_size)


PARTS: dict[str, Callable[[bool], Iterator[tuple[str, dict[str, Any]]]]] = {
    "scoring": scoring,
    "pairs": pairs,
    "step": step,
    "devices": devices,
    "heads": heads,
    "configs": configs,
}


def rows(found: dict[str, dict[str, Any]], scale: float, unit: str) -> str:
    """Format descriptions as a markdown table. scale, unit: of the bytes."""
    lines = [
        f"| predicted, H200 | {unit} through memory | GFLOP | temporaries, GB | arguments, GB | memory, µs "
        "| arithmetic, µs | roofline, µs | collectives |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        sent = ", ".join(
            f"{each['count']} {kind} of {each['bytes'] / 1e6:.1f} MB" for kind, each in row["collectives"].items()
        )
        times = " | ".join(f"{1e6 * row[f'{part}seconds']:.3g}" for part in ("memory_", "arithmetic_", ""))
        memory = f"{row['temporary_bytes'] / 1e9:.2f} | {row['argument_bytes'] / 1e9:.2f}"
        lines.append(
            f"| {name} | {row['bytes'] / scale:.4g} | {row['flops'] / 1e9:.4g} | {memory} | {times} | {sent or '–'} |"
        )
    return "\n".join(lines)


def largest(row: dict[str, Any], scale: float, unit: str) -> str:
    """Format the operations that move most."""
    lines = [f"| {unit} | MFLOP | times | operation | result | source |", "|---|---|---|---|---|---|"]
    for each in row["largest"]:
        numbers = f"{each['bytes'] / scale:.1f} | {each['flops'] / 1e6:.2f} | {each['times']}"
        lines.append(f"| {numbers} | {each['operation']} | `{each['result']}` | `{each['source']}` |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Compile, describe and print; each program is printed when it is compiled."""
    parser = Parser(prog="python -m benchmarks.gpu_plan", description=SUMMARY)
    parser.add_argument("--what", default="scoring,step", help=f"some of {','.join(WHAT)}; default %(default)s")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to check that everything compiles")
    parser.add_argument("--out", type=Path, help="file for all of it as JSON, written after each program")
    given = parser.parse_args(arguments)
    wanted = given.what.split(",")
    if not set(wanted) <= set(WHAT):
        raise UserError(f"--what={given.what}: give some of {', '.join(WHAT)}, with commas")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    allow_compiling()
    result: dict[str, Any] = {"prediction": True, "assumed": str(H200)}
    print(f"A prediction by the compiler, not a measurement. Assumed of an H200: {H200}.", flush=True)
    for part in wanted:
        scale, unit = (1e3, "kB") if part in ("scoring", "pairs") else (1e9, "GB")
        found = result[part] = {}
        for name, row in PARTS[part](given.tiny):
            found[name] = row
            print(f"\n{name}\n\n{rows({name: row}, scale, unit)}\n", flush=True)
            if part in ("scoring", "pairs", "step"):
                print(largest(row, scale, unit), flush=True)
            if "shared_bytes" in row:
                print(f"\nIts kernel also reads {row['shared_bytes'] / 1e3:.1f} kB that pairs share.", flush=True)
            if given.out:
                write_atomically(given.out, (json.dumps(result, indent=1) + "\n").encode())
        print(f"\n{part}\n\n{rows(found, scale, unit)}", flush=True)


if __name__ == "__main__":
    run_command(main)
