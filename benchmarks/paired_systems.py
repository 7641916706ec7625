"""Systems of a sweep against one of them, paired by query: differences averaged over the seeds, with intervals and p.

    python -m benchmarks.paired_systems runs/sweep_… --reference=moving_shapes_eaglenet [--split=test]

A row of the sweep is a folder with one work directory a seed, seed_0, seed_1, …; the seeds that a row and the reference
both have are compared. `metrics.significance.paired_test` states the test; the queries vary in it, the seeds do not.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import RetrievalPlacement, place, placement_metrics
from eaglenet_jax.metrics.significance import paired_test
from eaglenet_jax.progress import ProgressBars
from eaglenet_jax.runs.evaluate_split import evaluate_split
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.saved_ranks import load_ranks
from eaglenet_jax.runs.workdir import RANKS_FILE, has_checkpoints, load_checkpoint

SUMMARY = "Systems of a sweep against one of them, paired by query."
Placements = dict[str, dict[str, RetrievalPlacement]]  # row → seed → its queries


def seeds_of(sweep: Path) -> dict[str, dict[str, Path]]:
    """Find the work directories of a sweep, by row and seed."""
    found: dict[str, dict[str, Path]] = {}
    for folder in sorted(sweep.glob("*/seed_*")):
        if has_checkpoints(folder):
            found.setdefault(folder.parent.name, {})[folder.name] = folder
    if not found:
        raise UserError(f"{sweep} holds no ROW/seed_N with checkpoints; give the folder of a sweep")
    return found


def placements(folders: dict[str, dict[str, Path]], split: str) -> Placements:
    """Read the ranks of every work directory, or evaluate its best checkpoint where it has none of the split."""
    total = sum(map(len, folders.values()))
    found: Placements = {row: {} for row in folders}
    with ProgressBars() as progress:
        for done, (row, seed) in enumerate([(name, seed) for name, seeds in folders.items() for seed in seeds]):
            progress("Evaluating", done, total)
            saved = load_ranks(folders[row][seed] / RANKS_FILE).get(split)
            if saved is not None:
                found[row][seed] = saved
                continue
            loaded = load_checkpoint(folders[row][seed])
            evaluation = evaluate_split(open_experiment(loaded.config), loaded.params, split)
            found[row][seed] = place(evaluation.scores, evaluation.encoded.text_video, v2t_scores=evaluation.v2t_scores)
        progress("Evaluating", total, total)
    return found


def compare(found: Placements, reference: str) -> dict[str, Any]:
    """Compare every other row with the reference.

    Args:
        found: By row and seed.
        reference: The row that the others are compared with.

    Returns:
        By row: "seeds" they share, "t2v R@1" and "Rsum" of the row (mean over its seeds), and "difference", "low",
        "high" and "p" of both against the reference.

    Raises:
        UserError: There is no such row, or two rows share no seed.
    """
    if reference not in found:
        raise UserError(f"--reference={reference} is none of {', '.join(found)}")
    result = {}
    for row, by_seed in found.items():
        shared = sorted(by_seed.keys() & found[reference].keys())
        if not shared:
            raise UserError(f"{row} and {reference} have no seed in common; train the same --seeds")
        metrics = [placement_metrics(by_seed[seed]) for seed in shared]
        entry: dict[str, Any] = {
            "seeds": len(shared),
            "t2v R@1": {"mean": statistics.mean(m["t2v"]["R@1"] for m in metrics)},
            "Rsum": {"mean": statistics.mean(m["Rsum"] for m in metrics)},
        }
        if row != reference:
            test = paired_test([by_seed[seed] for seed in shared], [found[reference][seed] for seed in shared])
            entry["t2v R@1"] |= test["t2v"]["R@1"]
            entry["Rsum"] |= test["Rsum"]
        result[row] = entry
    return result


def as_table(result: dict[str, Any], reference: str) -> str:
    """Format a comparison as markdown."""
    lines = [
        f"| | seeds | t2v R@1 | against {reference} | p | Rsum | against {reference} | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, entry in result.items():
        cells = [row, str(entry["seeds"])]
        for name in ("t2v R@1", "Rsum"):
            value = entry[name]
            cells.append(f"{value['mean']:.1f}")
            cells += (
                [f"{value['difference']:+.1f} ({value['low']:+.1f} to {value['high']:+.1f})", f"{value['p']:.4f}"]
                if "p" in value
                else ["", ""]
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the table of one sweep."""
    parser = Parser(prog="python -m benchmarks.paired_systems", description=SUMMARY)
    parser.add_argument("sweep", type=Path, help="folder of a sweep")
    parser.add_argument("--reference", required=True, help="folder name of the row that the others are compared with")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    folders = seeds_of(given.sweep)
    if given.reference not in folders:
        raise UserError(f"--reference={given.reference} is none of {', '.join(folders)}")
    result = compare(placements(folders, given.split), given.reference)
    print(json.dumps(result, indent=1) if given.json else as_table(result, given.reference))


if __name__ == "__main__":
    run_command(main)
