"""Benchmark of one training step: ours, and the same in PyTorch as the released program computes it.

    python -m benchmarks.train_step [--json] [--clip=b32] [--what=features,whole,parts] [--batch=8 --frames=12 …]

"features": the step on given features: head, losses, Langevin sampling and optimiser, CLIP frozen. "whole": with
both encoders, forward and backward. "parts": where the time goes, by programs of their own. Both sides take turns in
every round, on all cores, and medians are compared. PyTorch's frames are normalised before the clock starts, ours
within the step. PyTorch is left out if it is not installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.measure import interleaved, machine, median
from benchmarks.scoring_ways import has_torch
from benchmarks.train_step_ours import (
    CLIPS,
    Measured,
    OurStep,
    StepSizes,
    measured_system,
    our_parts,
    random_batch,
    random_features,
)
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.system import OnFeatures

SUMMARY = "How long one training step takes, ours and in PyTorch as the released program does it."
WHAT = ("features", "whole", "parts")
TITLES = {"features": "step on given features", "whole": "whole step"}
NO_TORCH = "PyTorch or transformers is not installed: ours alone; pip install torch transformers to compare"
OURS, TORCH = "ours", "torch"


def measure_step(
    measured: Measured, sizes: StepSizes, what: str, rounds: int, torch: bool, device: str
) -> dict[str, Any]:
    """Measure seconds of a step, and our compile time. what: "features" or "whole". torch: measure PyTorch's too."""
    words = measured.system.max_words
    if what == "features":
        head = {"head": measured.params["head"]}
        features = random_features(sizes, measured.clip.embed_dim)
        ours = OurStep(OnFeatures(measured.system), head, measured.settings, OnFeatures.batch(**features))
    else:
        settings, batch = measured.settings, random_batch(sizes, measured.clip, words)
        ours = OurStep(measured.system, measured.params, settings, batch)
    steps: dict[str, Callable[[], Any]] = {OURS: ours}
    if torch:
        from benchmarks import train_step_torch

        if what == "features":
            steps[TORCH] = train_step_torch.features_step(measured, sizes, device)
        else:
            steps[TORCH] = train_step_torch.whole_step(measured, sizes, words, device)
    result = _compared(interleaved(steps, rounds))
    result[OURS]["compile_seconds"] = ours.compile_seconds
    result["clips_per_second"] = sizes.batch / result[OURS]["seconds"]
    return result


def measure_parts(measured: Measured, sizes: StepSizes, rounds: int, torch: bool, device: str) -> dict[str, Any]:
    """Measure seconds of each part of the step: name → as `measure_step`, part by part in turn."""
    words = measured.system.max_words
    sides: dict[str, Mapping[str, Callable[[], Any]]] = {OURS: our_parts(measured, sizes, words)}
    if torch:
        from benchmarks.train_step_torch import torch_parts

        sides[TORCH] = torch_parts(measured, sizes, words, device)
    return {
        name: _compared(interleaved({side: parts[name] for side, parts in sides.items()}, rounds))
        for name in sides[OURS]
    }


def _compared(seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    result: dict[str, Any] = {
        side: {"seconds": median(times), "fastest_seconds": min(times), "slowest_seconds": max(times)}
        for side, times in seconds.items()
    }
    both = TORCH in result
    result["ours_to_torch"] = result[OURS]["seconds"] / result[TORCH]["seconds"] if both else None
    return result


def table(result: Mapping[str, Any]) -> str:
    """Format the measurements."""
    lines = [f"{'':26}{'ours, s':>10}{'torch, s':>10}{'ours : torch':>14}{'compiling, s':>14}"]
    rows = [(TITLES[name], result[name]) for name in TITLES if name in result]
    rows += [(f"  {name}", row) for name, row in result.get("parts", {}).items()]
    for title, row in rows:
        theirs = f"{row[TORCH]['seconds']:10.3f}{row['ours_to_torch']:14.2f}" if TORCH in row else f"{'–':>10}{'–':>14}"
        compiling = row[OURS].get("compile_seconds")
        last = f"{compiling:14.1f}" if compiling is not None else ""
        lines.append(f"{title:26}{row[OURS]['seconds']:10.3f}{theirs}{last}".rstrip())
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    found = Parser(prog="python -m benchmarks.train_step", description=SUMMARY)
    found.add_argument("--clip", choices=list(CLIPS), default="tiny", help="size of CLIP; tiny: the demo's")
    found.add_argument("--batch", type=int, default=8, help="default %(default)s")
    found.add_argument("--frames", type=int, default=12, help="default %(default)s")
    found.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="compute type of CLIP")
    found.add_argument("--steps", type=int, default=3, help="timed steps of each side, of which the median counts")
    found.add_argument("--what", default=",".join(WHAT), help="some of features,whole,parts; default all")
    found.add_argument("--json", action="store_true", help="print one JSON object")
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    given = parser().parse_args(arguments)
    wanted = given.what.split(",")
    if min(given.batch, given.frames, given.steps) < 1:
        raise UserError("--batch, --frames and --steps must be at least 1")
    if not set(wanted) <= set(WHAT):
        raise UserError(f"--what={given.what}: give some of {', '.join(WHAT)}, with commas")
    sizes = StepSizes(given.clip, given.batch, given.frames, given.dtype)
    torch = has_torch() and importlib.util.find_spec("transformers") is not None
    about = machine()
    device = "cuda" if about["platform"] == "gpu" else "cpu"
    result: dict[str, Any] = {"machine": about, "sizes": dataclasses.asdict(sizes), "torch": torch_version()}
    measured = measured_system(sizes)
    for what in WHAT:
        if what in wanted and what != "parts":
            result[what] = measure_step(measured, sizes, what, given.steps, torch, device)
            gc.collect()  # frees the moments of one step before those of the next are allocated
    if "parts" in wanted:
        result["parts"] = measure_parts(measured, sizes, given.steps, torch, device)
    if given.json:
        print(json.dumps(result, indent=1))
        return
    print(" ".join(f"{name}={value}" for name, value in (about | result["sizes"]).items()), f"torch={result['torch']}")
    print(table(result))
    if not torch:
        print(NO_TORCH)


def torch_version() -> str | None:
    """Return the version of PyTorch, None if it is not installed."""
    if not has_torch():
        return None
    import torch

    return str(torch.__version__)


if __name__ == "__main__":
    run_command(main)
