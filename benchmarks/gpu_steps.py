"""Part 3 of the GPU visit: EagleNet's training step by CLIP size, type and what saves memory, PyTorch's beside it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax

from benchmarks.measure import median_seconds
from benchmarks.train_step_ours import (
    Measured,
    OurStep,
    StepProgram,
    StepSizes,
    measured_shapes,
    measured_system,
    random_batch,
    step_program,
)
from eaglenet_jax.errors import first_line

# What is measured, most wanted first: sizes of CLIP, compute type, and options of the step.
PLAIN: dict[str, Any] = {}
Case = tuple[str, str, dict[str, Any]]
CASES: tuple[Case, ...] = (
    ("b16", "bfloat16", PLAIN),
    ("b32", "bfloat16", PLAIN),
    ("b32", "float32", PLAIN),
    ("b16", "bfloat16", {"attention": "xla"}),
    ("b16", "bfloat16", {"remat": True}),
    ("b16", "bfloat16", {"encode_micro_batches": 4}),
    ("b16", "float32", {"remat": True}),
    ("b16", "bfloat16", {"pairwise_block": 8}),
)
OF_CLIP = ("attention", "remat")  # the other options are of `make_train_step`
LARGEST_FACTOR = 16  # of the batch that is tried
COMPILERS = 6  # programs that are compiled side by side
ROOT = Path(__file__).parents[1]


class Programs:
    """Steps that are compiled side by side in threads, while other things are done."""

    def __init__(self, sizes: StepSizes) -> None:
        """Keep the batch and frames of all cases; nothing is compiled yet."""
        self.sizes = sizes
        self._pool = ThreadPoolExecutor(COMPILERS)
        self._programs: dict[str, Future[StepProgram]] = {}

    def start(self, cases: Sequence[Case]) -> None:
        """Begin to compile the step of every case."""
        for case in cases:
            self._start(sized(case, self.sizes), options_of_step(case))

    def start_half(self) -> None:
        """Begin to compile the step of half the batch, which `largest_batch` needs."""
        self._start(replace(self.sizes, batch=self.sizes.batch // 2), PLAIN)

    def _start(self, sizes: StepSizes, options: dict[str, Any]) -> Future[StepProgram]:
        key = str((sizes, options))
        if key not in self._programs:
            self._programs[key] = self._pool.submit(_compile, sizes, options)
        return self._programs[key]

    def of(self, sizes: StepSizes, options: dict[str, Any] = PLAIN) -> StepProgram:
        """Return a compiled step, when it is; start to compile it if nobody has."""
        return self._start(sizes, options).result()

    def wait(self) -> None:
        """Wait until all are compiled: what is measured meanwhile would be slower."""
        wait(self._programs.values())


class TorchProcess:
    """PyTorch's steps in a process of their own, which gives its memory back. Its jax, on the CPU, draws parameters."""

    def __init__(self, device: str, program: Sequence[str] = ("-m", "benchmarks.gpu_torch")) -> None:
        """Start it; it imports, and waits. program: what Python runs."""
        self._process = subprocess.Popen(
            [sys.executable, *program, device],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, sizes: StepSizes, rounds: int) -> dict[str, Any]:
        """Measure a case; return its row, with "error" where it cannot be measured."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no answer either
            print(json.dumps([asdict(sizes), rounds]), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, TypeError):  # a library may print too
                return dict(json.loads(line))
        row = {"clip": sizes.clip, "type": sizes.dtype, "batch": sizes.batch, "frames": sizes.frames}
        return row | {"error": "PyTorch's process ended; its error is above"}

    def close(self) -> None:
        """End it, which gives its memory back."""
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._process.communicate()


def _compile(sizes: StepSizes, options: dict[str, Any]) -> StepProgram:
    measured = measured_shapes(sizes)
    batch = jax.eval_shape(lambda: random_batch(sizes, measured.clip, measured.system.max_words))
    return step_program(measured.system, measured.params, measured.settings, batch, **options)


def sized(case: Case, sizes: StepSizes) -> StepSizes:
    """Return the sizes of a case."""
    clip, dtype, options = case
    return replace(sizes, clip=clip, dtype=dtype, **{name: options[name] for name in OF_CLIP if name in options})


def options_of_step(case: Case) -> dict[str, Any]:
    """Return the options of `make_train_step` of a case."""
    return {name: value for name, value in case[2].items() if name not in OF_CLIP}


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


def steps(cases: Sequence[Case], programs: Programs, peak: float, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure our step in every case; a row a case, with its error where it does not run."""
    programs.start(cases)
    programs.wait()
    for case in cases:
        sizes = sized(case, programs.sizes)
        row: dict[str, Any] = {"clip": case[0], "type": case[1], "batch": sizes.batch, "frames": sizes.frames} | {
            "options": ", ".join(f"{name}={value}" for name, value in case[2].items())
        }
        try:
            yield row | _measured_step(sizes, programs.of(sizes, options_of_step(case)), peak, rounds)
        except jax.errors.JaxRuntimeError as error:  # out of memory
            yield row | {"error": first_line(error)[:200]}
        gc.collect()  # frees the moments of one step before those of the next are allocated


def _measured_step(sizes: StepSizes, program: StepProgram, peak: float, rounds: int) -> dict[str, Any]:
    measured = measured_system(sizes)
    batch = random_batch(sizes, measured.clip, measured.system.max_words)
    step = OurStep(measured.system, measured.params, measured.settings, batch, program)
    seconds = median_seconds(step, rounds)
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


def largest_batch(programs: Programs) -> dict[str, Any]:
    """Estimate the largest batch that fits this device, from the compiler's memory analysis of two batches."""
    sizes = programs.sizes
    half, whole = (needed_bytes(programs.of(case)) for case in (replace(sizes, batch=sizes.batch // 2), sizes))
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    a_clip = (whole - half) / (sizes.batch - sizes.batch // 2)
    found = {"clip": sizes.clip, "type": sizes.dtype, "bytes_a_clip": a_clip}
    found["bytes_at_none"] = whole - a_clip * sizes.batch
    if limit is None:  # a CPU
        return found | {"batch": None}
    batch = int(min((limit - found["bytes_at_none"]) / a_clip, LARGEST_FACTOR * sizes.batch)) // 8 * 8
    return found | {"batch": batch, "limit_bytes": limit}


def needed_bytes(program: StepProgram) -> int:
    """Return the bytes of a step by the compiler's memory analysis."""
    memory = program.compiled.memory_analysis()
    return int(memory.temp_size_in_bytes + memory.argument_size_in_bytes)


def steps_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `steps` as markdown."""
    lines = [
        "| CLIP | type | batch × frames | with | seconds | clips/s | TFLOP/s | of the bf16 peak | temporaries, GB "
        "| arguments, GB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case = f"| {row['clip']} | {row['type']} | {row['batch']} × {row['frames']} | {row['options'] or '–'} |"
        if "error" in row:
            lines.append(f"{case} {row['error']} | | | | | |")
            continue
        lines.append(
            f"{case} {row['seconds']:.3f} | {row['clips_per_second']:.0f} | {row['teraflop_per_second']:.1f} "
            f"| {row['share_of_peak']:.1%} | {row['temporary_bytes'] / 1e9:.1f} "
            f"| {row['argument_bytes'] / 1e9:.1f} |"
        )
    return "\n".join(lines)


def torch_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `TorchProcess.measure` as markdown."""
    lines = ["| CLIP | type | batch × frames | seconds | clips/s | peak memory, GB |", "|---|---|---|---|---|---|"]
    for row in rows:
        case = f"| {row['clip']} | {row['type']} | {row['batch']} × {row['frames']} |"
        if "error" in row:
            lines.append(f"{case} {row['error']} | | |")
            continue
        memory = f"{row['peak_bytes'] / 1e9:.1f}" if row["peak_bytes"] else "–"
        lines.append(f"{case} {row['seconds']:.3f} | {row['clips_per_second']:.0f} | {memory} |")
    return "\n".join(lines)


def batches_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `largest_batch` as markdown."""
    lines = ["| CLIP | type | MB a clip | GB without clips | largest batch |", "|---|---|---|---|---|"]
    for row in rows:
        memory = f"{row['bytes_a_clip'] / 1e6:.0f} | {row['bytes_at_none'] / 1e9:.1f}"
        lines.append(f"| {row['clip']} | {row['type']} | {memory} | {row['batch'] or 'unknown here'} |")
    return "\n".join(lines)
