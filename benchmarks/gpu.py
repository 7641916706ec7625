"""Everything that is to be measured on a GPU, in one visit: correctness, scoring, training, kernels, the demo.

    benchmarks/gpu.sh [--out DIR] [--parts=right,scoring,steps,kernels,demo] [--rounds 5] [--tiny]

The most important comes first. `gpu.json` and `gpu.md`, whose tables docs/scoring.md and docs/results.md take as they
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import gpu_kernels, gpu_right, gpu_scoring, gpu_steps
from benchmarks.measure import machine
from benchmarks.random_features import Sizes
from benchmarks.train_step_ours import StepSizes
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
        torch_steps: CLIP sizes and types that PyTorch's step is measured with.
        peak_width: Width of the product that measures the peak.
        demo: Configs that are trained.
        rounds: Timed runs, of which the median counts.
    """

    agreeing: Sizes = AGREEING
    galleries: tuple[Sizes, ...] = GALLERIES
    beside: Sizes = BESIDE
    block: Sizes = BLOCK
    step: StepSizes = STEP
    steps: tuple[tuple[str, str, dict[str, Any]], ...] = gpu_steps.CASES
    torch_steps: tuple[tuple[str, str], ...] = (("b16", "bfloat16"), ("b32", "float32"))
    peak_width: int = 8192
    demo: tuple[str, ...] = ("demo", "moving_shapes")
    rounds: int = 5


SMALL = Sizes(frames=3, candidates=3, texts=9, videos=7, width=16, heads=2)
TINY = Visit(
    agreeing=SMALL,
    galleries=(SMALL,),
    beside=SMALL,
    block=SMALL,
    step=StepSizes("tiny", 4, 2, "bfloat16"),
    steps=(("tiny", "bfloat16", {}), ("tiny", "float32", {"pairwise_block": 2})),
    torch_steps=(("tiny", "float32"),),
    peak_width=64,
    demo=("demo:tiny",),
    rounds=1,
)


class Peaks:
    """What this device reaches, measured once."""

    def __init__(self, width: int, rounds: int) -> None:
        """Measure products of bfloat16 matrices [width, width], and a copy of their bytes."""
        self.flops = gpu_scoring.matmul_peak(width, rounds)
        array = jnp.ones((4 * width, width), jnp.float32)
        copied = jax.jit(lambda x: x + 1)
        seconds = gpu_scoring.seconds_of(lambda: jax.block_until_ready(copied(array)), rounds)
        self.bytes_per_second = 2 * array.nbytes / seconds


def right(visit: Visit, peaks: Peaks) -> Iterator[Row]:
    """Replay records and compare blocks and types, the scoring kernel's last: it may fail where nobody has run it."""
    del peaks
    records = sorted(gpu_right.RECORDS.glob("eaglenet_*.npz"))
    yield from (("agreement", row) for row in gpu_right.agreement(visit.agreeing, 5))
    yield from (("records", row) for row in gpu_right.replayed(records[:1] if visit is TINY else records))
    yield from (("agreement", row) for row in gpu_right.agreement(visit.agreeing, 5, gpu_right.kernel_here()))


def scoring(visit: Visit, peaks: Peaks) -> Iterator[Row]:
    """Score galleries, then the dense forms beside ours, then galleries by the scoring kernel."""
    for sizes in visit.galleries:
        yield from (("gallery", row) for row in gpu_scoring.whole_gallery(sizes, peaks.flops, visit.rounds))
    yield "beside", gpu_scoring.beside(visit.beside, visit.rounds, gpu_scoring.torch_device())
    for sizes in visit.galleries:
        rows = gpu_scoring.whole_gallery(sizes, peaks.flops, visit.rounds, gpu_right.kernel_here())
        yield from (("gallery", row) for row in rows)


def steps(visit: Visit, peaks: Peaks) -> Iterator[Row]:
    """Measure training steps, PyTorch's beside them, and the largest batch."""
    first, rest = visit.steps[:1], visit.steps[1:]
    yield from (("steps", row) for row in gpu_steps.steps(first, visit.step, peaks.flops, visit.rounds))
    device = gpu_scoring.torch_device()
    for clip, dtype in visit.torch_steps if device else ():
        yield "torch_steps", gpu_steps.beside_torch(clip, dtype, visit.step, visit.rounds, device or "cpu")
    yield from (("steps", row) for row in gpu_steps.steps(rest, visit.step, peaks.flops, visit.rounds))
    yield "batches", gpu_steps.largest_batch(visit.step.clip, visit.step.dtype, visit.step)


def kernels(visit: Visit, peaks: Peaks) -> Iterator[Row]:
    """Trace scoring and a training step."""
    programs: dict[str, Callable[[], tuple[str, Callable[[], Any]]]] = {
        "scoring": lambda: gpu_kernels.scoring_program(visit.block, "bfloat16"),
        "step": lambda: gpu_kernels.step_program(visit.step),
    }
    for name, make in programs.items():
        rows = gpu_kernels.longest(*make(), peaks.flops, peaks.bytes_per_second)
        yield from ((f"{name}_kernels", row) for row in rows)


def demo(visit: Visit, peaks: Peaks) -> Iterator[Row]:
    """Train the demo, from rendering its clips to its table."""
    del peaks
    for config in visit.demo:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "eaglenet_jax.train", f"--config={config}", f"--workdir={folder}"]
            run = subprocess.run(command, capture_output=True, text=True)
        shown = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()[-30:]
        row = {"config": config, "status": run.returncode, "seconds": time.perf_counter() - start}
        yield "demo", row | {"end": "\n".join(shown)}


PARTS: dict[str, Callable[[Visit, Peaks], Iterator[Row]]] = {
    "right": right,
    "scoring": scoring,
    "steps": steps,
    "kernels": kernels,
    "demo": demo,
}


def demo_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `demo` as markdown."""
    return "\n\n".join(f"{row['config']}, {row['seconds']:.0f} s:\n\n```\n{row['end']}\n```" for row in rows)


TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "agreement": ("Largest difference of scores", gpu_right.agreement_table),
    "records": ("Records of the released programs, float64", gpu_right.replay_table),
    "gallery": ("Scoring a gallery", gpu_scoring.gallery_table),
    "beside": ("The dense forms beside ours, float32, `highest`", lambda rows: gpu_scoring.beside_table(rows[0])),
    "steps": ("Training step of EagleNet", gpu_steps.steps_table),
    "torch_steps": ("Training step, ours and PyTorch's in turn", gpu_steps.torch_table),
    "batches": ("Largest batch", gpu_steps.batches_table),
    "scoring_kernels": ("Longest operations of scoring a block, bfloat16", gpu_kernels.kernels_table),
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
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s, in this order")
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed runs of which the median counts, default %(default)s"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to check that all of it runs, on any device")
    given = parser.parse_args(arguments)
    wanted = given.parts.split(",")
    if not set(wanted) <= set(PARTS):
        raise UserError(f"--parts={given.parts}: give some of {', '.join(PARTS)}, with commas")
    visit = TINY if given.tiny else dataclasses.replace(Visit(), rounds=given.rounds)
    given.out.mkdir(parents=True, exist_ok=True)
    peaks = Peaks(visit.peak_width, visit.rounds)
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
        (given.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (given.out / "gpu.md").write_text(markdown(result))

    for part in wanted:
        start = time.perf_counter()
        try:
            for table, row in PARTS[part](visit, peaks):
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
