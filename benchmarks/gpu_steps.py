"""Part 3 of the GPU visit: EagleNet's training step by CLIP size, type and what saves memory, PyTorch's beside it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax

from benchmarks.gpu_scoring import seconds_of
from benchmarks.train_step_ours import Measured, OurStep, StepSizes, measured_system, random_batch

# What is measured, most wanted first: sizes of CLIP, compute type, and options of the step.
PLAIN: dict[str, Any] = {}
CASES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("b16", "bfloat16", PLAIN),
    ("b32", "bfloat16", PLAIN),
    ("b16", "bfloat16", {"remat": True}),
    ("b16", "bfloat16", {"encode_micro_batches": 4}),
    ("b16", "bfloat16", {"pairwise_block": 8}),
    ("b32", "float32", PLAIN),
    ("b16", "float32", PLAIN),
)
LARGEST_FACTOR = 16  # of the batch that is tried


def step_flops(measured: Measured, sizes: StepSizes) -> float:
    """Estimate the FLOP of one step without recomputation, from the products of CLIP alone.

    Forward is 2 × parameters of a block × tokens and the attention's two products; backward is twice that.
    """
    clip = measured.clip

    def tower(width: int, layers: int, tokens: int) -> float:
        return layers * (2.0 * 12 * width**2 * tokens + 4.0 * tokens**2 * width)

    tokens = (clip.image_size // clip.patch_size) ** 2 + 1
    patches = 2.0 * (tokens - 1) * 3 * clip.patch_size**2 * clip.vision_width
    video = sizes.frames * (tower(clip.vision_width, clip.vision_layers, tokens) + patches)
    return 3.0 * sizes.batch * (video + tower(clip.text_width, clip.text_layers, measured.system.max_words))


def steps(
    cases: Sequence[tuple[str, str, dict[str, Any]]], sizes: StepSizes, peak: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """Measure our step in every case; a row a case, with its error where it does not run."""
    for clip, dtype, options in cases:
        case = replace(sizes, clip=clip, dtype=dtype, remat=options.get("remat", False))
        row: dict[str, Any] = {"clip": clip, "type": dtype, "batch": case.batch, "frames": case.frames} | {
            "options": ", ".join(f"{name}={value}" for name, value in options.items())
        }
        try:
            yield row | _measured_step(case, options, peak, rounds)
        except jax.errors.JaxRuntimeError as error:  # out of memory
            yield row | {"error": str(error).splitlines()[0][:200]}
        gc.collect()  # frees the moments of one step before those of the next are allocated


def _measured_step(sizes: StepSizes, options: dict[str, Any], peak: float, rounds: int) -> dict[str, Any]:
    measured = measured_system(sizes)
    batch = random_batch(sizes, measured.clip, measured.system.max_words)
    of_step = {name: value for name, value in options.items() if name != "remat"}
    step = OurStep(measured.system, measured.params, measured.settings, batch, **of_step)
    seconds = seconds_of(step, rounds)
    memory, stats = step.memory, jax.local_devices()[0].memory_stats() or {}
    flops = step_flops(measured, sizes)
    return {
        "seconds": seconds,
        "clips_per_second": sizes.batch / seconds,
        "compile_seconds": step.compile_seconds,
        "teraflop_per_second": flops / seconds / 1e12,
        "share_of_peak": flops / seconds / peak,
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "argument_bytes": int(memory.argument_size_in_bytes),
        "peak_bytes": stats.get("peak_bytes_in_use"),
    }


def largest_batch(clip: str, dtype: str, sizes: StepSizes) -> dict[str, Any]:
    """Estimate the largest batch that fits this device, from the compiler's memory analysis of two batches."""
    half, whole = (
        _needed_bytes(replace(sizes, clip=clip, dtype=dtype, batch=batch)) for batch in (sizes.batch // 2, sizes.batch)
    )
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    a_clip = (whole - half) / (sizes.batch - sizes.batch // 2)
    found = {"clip": clip, "type": dtype, "bytes_a_clip": a_clip, "bytes_at_none": whole - a_clip * sizes.batch}
    if limit is None:  # a CPU
        return found | {"batch": None}
    batch = int(min((limit - found["bytes_at_none"]) / a_clip, LARGEST_FACTOR * sizes.batch)) // 8 * 8
    return found | {"batch": batch, "limit_bytes": limit}


def _needed_bytes(sizes: StepSizes) -> int:
    measured = measured_system(sizes)
    batch = random_batch(sizes, measured.clip, measured.system.max_words)
    memory = OurStep(measured.system, measured.params, measured.settings, batch).memory
    return int(memory.temp_size_in_bytes + memory.argument_size_in_bytes)


def beside_torch(clip: str, dtype: str, sizes: StepSizes, rounds: int, device: str) -> dict[str, Any]:
    """Measure PyTorch's step and ours in turn, as `benchmarks.train_step --what=whole`."""
    from benchmarks.train_step import measure_step

    case = replace(sizes, clip=clip, dtype=dtype)
    return {"clip": clip, "type": dtype} | measure_step(measured_system(case), case, "whole", rounds, True, device)


def steps_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `steps` as markdown."""
    lines = [
        "| CLIP | type | batch × frames | with | seconds | clips/s | TFLOP/s | of the bf16 peak | temporaries, GB "
        "| peak memory, GB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case = f"| {row['clip']} | {row['type']} | {row['batch']} × {row['frames']} | {row['options'] or '–'} |"
        if "error" in row:
            lines.append(f"{case} {row['error']} | | | | | |")
            continue
        peak = "–" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.1f}"
        lines.append(
            f"{case} {row['seconds']:.3f} | {row['clips_per_second']:.0f} | {row['teraflop_per_second']:.1f} "
            f"| {row['share_of_peak']:.1%} | {row['temporary_bytes'] / 1e9:.1f} | {peak} |"
        )
    return "\n".join(lines)


def torch_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `beside_torch` as markdown."""
    lines = ["| CLIP | type | ours, s | PyTorch, s | ours : PyTorch |", "|---|---|---|---|---|"]
    for row in rows:
        times = f"{row['ours']['seconds']:.3f} | {row['torch']['seconds']:.3f} | {row['ours_to_torch']:.2f}"
        lines.append(f"| {row['clip']} | {row['type']} | {times} |")
    return "\n".join(lines)


def batches_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `largest_batch` as markdown."""
    lines = ["| CLIP | type | MB a clip | GB without clips | largest batch |", "|---|---|---|---|---|"]
    for row in rows:
        memory = f"{row['bytes_a_clip'] / 1e6:.0f} | {row['bytes_at_none'] / 1e9:.1f}"
        lines.append(f"| {row['clip']} | {row['type']} | {memory} | {row['batch'] or 'unknown here'} |")
    return "\n".join(lines)
