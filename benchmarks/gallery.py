"""Benchmark of encoding and scoring a split with finished runs.

    python -m benchmarks.gallery runs/siblings/*/seed_0 [--split=test] [--rounds=5] [--json]

Scores are those of `evaluate`: of all pairs, or of a first stage and its rescored candidates. Uses the best checkpoint
of every run; everything is compiled before, and the runs take turns in every round.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.measure import interleaved, machine, median
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.runs.evaluate import saved_parameters
from eaglenet_jax.runs.evaluate_split import encode_split, score_split
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.saved_config import saved_config

SUMMARY = "Parameters, and seconds to encode and to score a split, for finished runs side by side."


def measured(workdirs: Sequence[Path], split: str, rounds: int) -> list[dict[str, Any]]:
    """Return one row a run: its folder, texts, videos, parameters, and median seconds of encoding and of scoring."""
    runs: dict[str, Callable[[], Any]] = {}
    sizes: dict[Path, dict[str, int]] = {}
    for workdir in workdirs:
        experiment = open_experiment(saved_config(workdir))
        params = saved_parameters(experiment, workdir).params
        encode = functools.partial(encode_split, experiment, params, split)
        encoded = encode()
        runs[f"{workdir} encode"] = encode
        runs[f"{workdir} score"] = functools.partial(score_split, experiment, params, encoded)
        sizes[workdir] = {
            "texts": len(encoded.captions),
            "videos": len(encoded.split.video_ids),
            "head_parameters": _count(params["head"]),
            "clip_parameters": _count(params) - _count(params["head"]),
        }
    seconds = {name: median(times) for name, times in interleaved(runs, rounds).items()}
    return [
        {
            "run": str(workdir),
            **sizes[workdir],
            "encode_seconds": seconds[f"{workdir} encode"],
            "score_seconds": seconds[f"{workdir} score"],
        }
        for workdir in workdirs
    ]


def _count(params: Any) -> int:
    return sum(array.size for array in jax.tree.leaves(params))


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.gallery", description=SUMMARY)
    parser.add_argument("runs", nargs="+", type=Path, help="work directories")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    rows = measured(given.runs, given.split, given.rounds)
    if given.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=1))
        return
    width = max(len(row["run"]) for row in rows)
    print(f"{'':{width}}{'texts':>8}{'videos':>8}{'CLIP, M':>10}{'head, M':>10}{'encoding, s':>13}{'scoring, s':>12}")
    for row in rows:
        sizes = (
            f"{row['texts']:8}{row['videos']:8}{row['clip_parameters'] / 1e6:10.2f}{row['head_parameters'] / 1e6:10.2f}"
        )
        print(f"{row['run']:{width}}{sizes}{row['encode_seconds']:13.2f}{row['score_seconds']:12.3f}")


if __name__ == "__main__":
    run_command(main)
