"""Everything that is to be measured on a GPU, in one visit: correctness, scoring, training, kernels, the demo.

    benchmarks/gpu.sh [--out DIR] [--parts=right,scoring,step,kernels,launches,steps,dense,demo] [--rounds 5] [--tiny]

The most important comes first. `gpu.json` and `gpu.md`, whose tables docs/scoring.md and docs/training.md take as they
are, are written after every row, so the visit can be cut off at any point. A part that fails is written with its error,
the rest goes on, and the command ends with status 1.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import gpu_kernels, gpu_right, gpu_scoring, gpu_steps
from benchmarks.measure import machine
from benchmarks.random_features import Sizes
from benchmarks.train_step_ours import StepSizes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

SUMMARY = "Everything that is to be measured on a GPU, most important first."
AGREEING, BESIDE, BLOCK = Sizes(texts=100, videos=100), Sizes(texts=64, videos=64), Sizes(texts=64, videos=128)
GALLERIES = (Sizes(texts=1000, videos=1000), Sizes(frames=64, texts=1000, videos=1000))
STEP = StepSizes("b16", 64, 12, "bfloat16")
Row = tuple[str, dict[str, Any]]  # the name of a table, and one row of it


@dataclasses.dataclass(frozen=True)
class Visit:
    """What is measured.

    Attributes:
        agreeing: Gallery whose scores are compared with the CPU's.
        galleries: Galleries that are scored.
        beside: Gallery for the dense forms.
        block: Pairs whose kernels are traced.
        step: Batch and frames of the training step.
        steps: Cases of `gpu_steps`.
        torch_steps: Those of them that PyTorch's step is measured with.
        blocks: Texts and videos of a block that the first gallery is scored with.
        launches: As `gpu_scoring.LAUNCHES`; the block is that whose kernels are traced.
        attention: Sequences, tokens and causality of attention that is compared.
        peak_width: Width of the product that measures the peak.
        demo: Configs that are trained.
        rounds: Timed runs, of which the median counts.
        types: Names of `gpu_right.TYPES` that galleries are scored in.
        small: Whether one record is enough.
    """

    agreeing: Sizes = AGREEING
    galleries: tuple[Sizes, ...] = GALLERIES
    beside: Sizes = BESIDE
    block: Sizes = BLOCK
    step: StepSizes = STEP
    steps: tuple[gpu_steps.Case, ...] = gpu_steps.CASES
    torch_steps: tuple[gpu_steps.Case, ...] = (gpu_steps.CASES[0], gpu_steps.CASES[2])
    blocks: tuple[tuple[int, int], ...] = ((64, 128), (250, 500))
    launches: Mapping[tuple[str, int], tuple[tuple[int, int], ...]] = dataclasses.field(
        default_factory=lambda: gpu_scoring.LAUNCHES
    )
    attention: tuple[tuple[int, int, bool], ...] = ((16, 197, False), (16, 50, False), (16, 32, True), (16, 77, True))
    peak_width: int = 8192
    demo: tuple[str, ...] = ("demo", "moving_shapes")
    rounds: int = 5
    types: tuple[str, ...] = tuple(gpu_right.TYPES)
    small: bool = False


SMALL = Sizes(frames=3, candidates=3, texts=9, videos=7, width=16, heads=2)
TINY = Visit(
    agreeing=SMALL,
    galleries=(SMALL,),
    beside=SMALL,
    block=SMALL,
    step=StepSizes("tiny", 4, 2, "bfloat16"),
    steps=(("tiny", "bfloat16", {}), ("tiny", "float32", {"pairwise_block": 2})),
    torch_steps=(("tiny", "float32", {"pairwise_block": 2}),),
    blocks=((2, 3),),
    launches={("bfloat16", 3): ((1, 16), (2, 16))},
    attention=((2, 5, False),),
    peak_width=64,
    demo=("demo:tiny",),
    rounds=1,
    small=True,
)


class Peaks:
    """What this device reaches, measured once."""

    def __init__(self, width: int, rounds: int) -> None:
        """Measure products of bfloat16 matrices [width, width], and a copy of four times as many float32."""
        self.flops = gpu_scoring.matmul_peak(width, rounds)
        array = jnp.ones((4 * width, width), jnp.float32)
        copied = jax.jit(lambda x: x + 1)
        self.bytes_per_second = 2 * array.nbytes / gpu_scoring.queued_seconds(lambda: copied(array), rounds)


@dataclasses.dataclass(frozen=True)
class Shared:
    """What parts share: the device's peaks, compiled steps, and a process of PyTorch's, None without PyTorch."""

    peaks: Peaks
    programs: gpu_steps.Programs
    torch: gpu_steps.TorchProcess | None


def right(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Replay records and compare blocks and types, the kernels of cuDNN and Triton last: they may fail elsewhere."""
    del shared
    records = sorted(gpu_right.RECORDS.glob("eaglenet_*.npz"))
    yield from (("agreement", row) for row in gpu_right.agreement(visit.agreeing, 5))
    yield from (("records", row) for row in gpu_right.replayed(records[:1] if visit.small else records))
    yield from (("attention", row) for row in gpu_right.attention_agreement(visit.attention))
    yield from (("agreement", row) for row in gpu_right.agreement(visit.agreeing, 5, gpu_right.kernel_here()))


def scoring(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Score galleries by type and by block, in the plain form and then by the scoring kernel."""
    exact: dict[Any, Any] = {}
    for kernel in ("none", gpu_right.kernel_here()):
        for sizes in visit.galleries:
            rows = gpu_scoring.whole_gallery(sizes, shared.peaks.flops, visit.rounds, visit.types, kernel, exact)
            yield from (("gallery", row) for row in rows)
        by_block = gpu_scoring.by_block(visit.galleries[0], visit.blocks, kernel, visit.rounds)
        yield from (("blocks", row) for row in by_block)


def dense(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Measure the dense forms beside ours."""
    del shared
    yield "beside", gpu_scoring.beside(visit.beside, visit.rounds, gpu_scoring.torch_device())


def step(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Measure PyTorch's training steps while ours hold no memory and nothing is compiled, then the first of ours."""
    if shared.torch:
        for case in visit.torch_steps:
            yield "torch_steps", shared.torch.measure(gpu_steps.sized(case, visit.step), visit.rounds)
        shared.torch.close()
    rows = gpu_steps.steps(visit.steps[:1], shared.programs, shared.peaks.flops, visit.rounds)
    yield from (("steps", row) for row in rows)


def steps(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Measure the other training steps, and the largest batch."""
    shared.programs.start_half()
    rows = gpu_steps.steps(visit.steps[1:], shared.programs, shared.peaks.flops, visit.rounds)
    yield from (("steps", row) for row in rows)
    yield "batches", gpu_steps.largest_batch(shared.programs)


def kernels(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Trace a training step, and scoring in the plain form and by the scoring kernel."""
    peaks = shared.peaks
    traced: dict[str, Callable[[], tuple[str, Callable[[], Any]]]] = {
        "step": lambda: gpu_kernels.traced_step(shared.programs),
        "scoring": lambda: gpu_kernels.scoring_program(visit.block, "bfloat16"),
        "scoring_kernel": lambda: gpu_kernels.scoring_program(visit.block, "bfloat16", gpu_right.kernel_here()),
    }
    for name, make in traced.items():
        rows = gpu_kernels.longest(*make(), peaks.flops, peaks.bytes_per_second)
        yield from ((f"{name}_kernels", row) for row in rows)


def launches(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Measure the scoring kernel by how its programs run."""
    del shared
    for (name, frames), tried in visit.launches.items():
        sizes = dataclasses.replace(visit.block, frames=frames)
        rows = gpu_scoring.by_launch(sizes, name, tried, gpu_right.kernel_here(), visit.rounds)
        yield from (("launches", row) for row in rows)


def demo(visit: Visit, shared: Shared) -> Iterator[Row]:
    """Train the demo, from rendering its clips to its table."""
    del shared
    for config in visit.demo:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "eaglenet_jax.train", f"--config={config}", f"--workdir={folder}"]
            run = subprocess.run(command, capture_output=True, text=True)
        shown = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()[-30:]
        row = {"config": config, "status": run.returncode, "seconds": time.perf_counter() - start}
        yield "demo", row | {"end": "\n".join(shown)}


PARTS: dict[str, Callable[[Visit, Shared], Iterator[Row]]] = {
    "right": right,
    "scoring": scoring,
    "step": step,
    "kernels": kernels,
    "launches": launches,
    "steps": steps,
    "dense": dense,
    "demo": demo,
}


def demo_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `demo` as markdown."""
    return "\n\n".join(f"{row['config']}, {row['seconds']:.0f} s:\n\n```\n{row['end']}\n```" for row in rows)


TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "agreement": ("Largest difference of scores", gpu_right.agreement_table),
    "attention": ("Attention of the CLIPs, relative errors", gpu_right.attention_table),
    "records": ("Records of the released programs, float64", gpu_right.replay_table),
    "gallery": ("Scoring a gallery", gpu_scoring.gallery_table),
    "blocks": ("Scoring by block", gpu_scoring.block_table),
    "launches": ("Scoring a block by how the kernel runs", gpu_scoring.launch_table),
    "beside": ("The dense forms beside ours, float32, `highest`", lambda rows: gpu_scoring.beside_table(rows[0])),
    "steps": ("Training step of EagleNet", gpu_steps.steps_table),
    "torch_steps": ("Training step in PyTorch", gpu_steps.torch_table),
    "batches": ("Largest batch", gpu_steps.batches_table),
    "scoring_kernels": ("Longest operations of scoring a block, bfloat16", gpu_kernels.kernels_table),
    "scoring_kernel_kernels": ("Longest operations of scoring a block by the kernel", gpu_kernels.kernels_table),
    "step_kernels": ("Longest operations of the training step", gpu_kernels.kernels_table),
    "demo": ("Demo", demo_table),
}


def markdown(result: dict[str, Any]) -> str:
    """Format everything that was measured so far."""
    about = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines = [f"Measured on {about}. {result['peaks']}"]
    for name, (title, table) in TABLES.items():
        if rows := result["tables"].get(name):
            lines.append(f"### {title}\n\n{table(rows)}")
    lines += [f"Part {name} failed: {error.splitlines()[-1]}" for name, error in result["errors"].items()]
    return "\n\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, write after every row, and print the tables; 1 if a part failed."""
    parser = Parser(prog="benchmarks/gpu.sh", description=SUMMARY)
    parser.add_argument(
        "--out", type=Path, default=Path("gpu"), help="folder for gpu.json and gpu.md, default %(default)s"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s, in the order given")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"timed runs of which the median counts, default {Visit().rounds}, tiny {TINY.rounds}",
    )
    parser.add_argument("--types", help=f"some of {'; '.join(gpu_right.TYPES)} to score galleries in; default all")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to check that all of it runs, on any device")
    given = parser.parse_args(arguments)
    wanted = given.parts.split(",")
    if not set(wanted) <= set(PARTS):
        raise UserError(f"--parts={given.parts}: give some of {', '.join(PARTS)}, with commas")
    types = tuple(gpu_right.TYPES) if given.types is None else tuple(given.types.split(";"))
    if not set(types) <= set(gpu_right.TYPES):
        raise UserError(f"--types={given.types}: give some of {'; '.join(gpu_right.TYPES)}, with semicolons")
    visit = dataclasses.replace(TINY if given.tiny else Visit(), types=types)
    if given.rounds is not None:
        visit = dataclasses.replace(visit, rounds=given.rounds)
    given.out.mkdir(parents=True, exist_ok=True)
    device = gpu_scoring.torch_device() if "step" in wanted else None
    torch = gpu_steps.TorchProcess(device) if device else None  # it begins by importing, on the CPU
    peaks = Peaks(visit.peak_width, visit.rounds)
    shared = Shared(peaks, gpu_steps.Programs(visit.step), torch)
    result: dict[str, Any] = {
        "machine": machine(),
        "peaks": f"Products of bfloat16 reach {peaks.flops / 1e12:.4g} TFLOP/s, memory "
        f"{peaks.bytes_per_second / 1e12:.3g} TB/s.",
        "bfloat16_peak_teraflop_per_second": peaks.flops / 1e12,
        "memory_terabytes_per_second": peaks.bytes_per_second / 1e12,
        "tables": {},
        "seconds": {},
        "errors": {},
    }

    def write() -> None:
        write_atomically(given.out / "gpu.json", (json.dumps(result, indent=1) + "\n").encode())
        write_atomically(given.out / "gpu.md", markdown(result).encode())

    for part in wanted:
        start = time.perf_counter()
        try:
            for table, row in PARTS[part](visit, shared):
                result["tables"].setdefault(table, []).append(row)
                write()
        except Exception:  # the minutes that are left belong to the other parts
            result["errors"][part] = traceback.format_exc()
        result["seconds"][part] = time.perf_counter() - start
        write()
        print(f"{part}: {result['seconds'][part]:.0f} s" + (", failed" if part in result["errors"] else ""), flush=True)
    print(markdown(result))
    for error in result["errors"].values():
        print(error, file=sys.stderr)
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    run_command(main)
