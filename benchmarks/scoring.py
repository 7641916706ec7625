"""Benchmark of scoring all pairs of a gallery: the dense formulation in PyTorch and in JAX, and ours.

    python -m benchmarks.scoring [--json] [--scaling] [--frames 12 --candidates 20 --texts 32 --videos 32 …]

All ways are run in turn in every round, on all cores, and medians are compared. All compute the same numbers: the
program fails if they differ by more than 1e-5 in float32. PyTorch is left out if it is not installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.measure import interleaved, machine, median
from benchmarks.random_features import Sizes
from benchmarks.scoring_ways import (
    ALL_NODES,
    DENSE,
    OURS,
    TITLES,
    TORCH,
    has_torch,
    make_ways,
    mflop_by_compiler,
    mflop_by_hand,
)
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

SUMMARY = "How fast all pairs of a gallery are scored: dense in PyTorch and in JAX, and ours."
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2}
# One size at a time is changed; the others come from the arguments.
SCALED = {
    "candidates": (5, 10, 20, 40),
    "frames": (6, 12, 24, 64),
    "layers": (1, 2, 3),
    "gallery": (16, 32, 64, 128),
}


def compare(sizes: Sizes, dtype: str, names: Sequence[str], rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Measure seconds, pairs/s, MFLOP a pair and differences of the named implementations, as plain numbers.

    Raises UserError if the ways disagree by more than the tolerance of dtype.
    """
    ways = make_ways(sizes, dtype, names, device)
    scores = {name: score() for name, score in ways.items()}
    difference = max(float(np.abs(found - scores[OURS]).max()) for found in scores.values())
    if not difference <= TOLERANCE[dtype]:
        raise UserError(f"the ways differ by {difference:.2e} in {dtype}, more than {TOLERANCE[dtype]:.0e}")
    seconds = interleaved(ways, rounds)
    pairs = sizes.texts * sizes.videos
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        middle = median(seconds[name])
        rows[name] = {
            "seconds": middle,
            "fastest_seconds": min(seconds[name]),
            "slowest_seconds": max(seconds[name]),
            "pairs_per_second": pairs / middle,
            "mflop_by_hand": mflop_by_hand(name, sizes),
            "mflop_by_compiler": mflop_by_compiler(name, sizes, dtype),
            "times_ours": middle / median(seconds[OURS]),
        }
    return {"largest_difference": difference, "spread_of_scores": float(scores[OURS].std()), "ways": rows}


def scaling(sizes: Sizes, dtype: str, rounds: int) -> list[dict[str, Any]]:
    """Measure the time of ours, and of the jitted dense form, at each size of `SCALED`."""
    found = []
    for field, values in SCALED.items():
        for value in values:
            changed = {"texts": value, "videos": value} if field == "gallery" else {field: value}
            changed_sizes = dataclasses.replace(sizes, **changed)
            ways = make_ways(changed_sizes, dtype, (DENSE, OURS))
            seconds = interleaved(ways, rounds)
            pairs = changed_sizes.texts * changed_sizes.videos
            milliseconds = {name: 1e3 * median(seconds[name]) / pairs for name in ways}
            found.append({"size": field, "value": value, "pairs": pairs, "milliseconds_a_pair": milliseconds})
    return found


def table(result: dict[str, Any]) -> str:
    """Format the comparison."""
    lines = [f"{'':34}{'pairs/s':>9}{'ms a pair':>11}{'MFLOP a pair':>22}{'× ours':>8}"]
    lines.append(f"{'':54}{'by hand':>11}{'compiler':>11}")
    for name, row in result["ways"].items():
        counts = [f"{row[key]:.1f}" if row[key] is not None else "–" for key in ("mflop_by_hand", "mflop_by_compiler")]
        speed = f"{row['pairs_per_second']:9.0f}{1e3 / row['pairs_per_second']:11.3f}"
        lines.append(f"{TITLES[name]:34}{speed}{counts[0]:>11}{counts[1]:>11}{row['times_ours']:8.1f}")
    lines.append(f"largest difference between them: {result['largest_difference']:.1e}")
    return "\n".join(lines)


def scaling_table(found: Sequence[dict[str, Any]]) -> str:
    """Format the times by size."""
    lines = [f"{'size':12}{'value':>6}{'ours, ms a pair':>18}{'dense JAX, ms a pair':>22}"]
    for row in found:
        times = row["milliseconds_a_pair"]
        lines.append(f"{row['size']:12}{row['value']:6}{times[OURS]:18.3f}{times[DENSE]:22.3f}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    found = Parser(prog="python -m benchmarks.scoring", description=SUMMARY)
    for field in dataclasses.fields(Sizes):
        found.add_argument(f"--{field.name}", type=int, default=field.default, help="default %(default)s")
    found.add_argument("--dtype", choices=list(TOLERANCE), default="float32", help="compute type")
    found.add_argument("--rounds", type=int, default=5, help="rounds of each way, of which the median counts")
    found.add_argument("--json", action="store_true", help="print one JSON object")
    found.add_argument("--scaling", action="store_true", help="show how time grows with S, M, L and the gallery")
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the comparison and print it."""
    given = parser().parse_args(arguments)
    sizes = Sizes(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Sizes)})
    if min(dataclasses.astuple(sizes)) < 1 or given.rounds < 1:
        raise UserError("every size and the number of rounds must be at least 1")
    names = ([TORCH] if has_torch() else []) + [ALL_NODES, DENSE, OURS]
    result: dict[str, Any] = {"machine": machine(), "sizes": dataclasses.asdict(sizes), "dtype": given.dtype}
    result |= compare(sizes, given.dtype, names, given.rounds)
    if given.scaling:
        result["scaling"] = scaling(sizes, given.dtype, given.rounds)
    if given.json:
        print(json.dumps(result, indent=1))
        return
    print(" ".join(f"{name}={value}" for name, value in (result["machine"] | result["sizes"]).items()), given.dtype)
    print(table(result))
    if not has_torch():
        print("PyTorch is not installed: (a) was not measured")
    if given.scaling:
        print(scaling_table(result["scaling"]))


if __name__ == "__main__":
    run_command(main)
