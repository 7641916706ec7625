"""CrossTVR's metrics by the weight of its second stage, from finished runs; the weight is chosen on validation.

    python -m benchmarks.match_weight runs/crosstvr/moving_shapes_crosstvr_eaglenet_frozen [--weights=0,0.1,1] [--json]

The second stage's P(match) is added to the first stage's similarity (config.head.match_weight). Both are computed once
for a run and split, and summed with every weight. 0 is the first stage alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import best_items, place, placement_metrics
from eaglenet_jax.progress import Progress, ProgressBars, labelled
from eaglenet_jax.registry import head_class
from eaglenet_jax.runs.evaluate_split import encode_split, evaluation_draws
from eaglenet_jax.runs.experiment import Experiment, open_experiment
from eaglenet_jax.runs.workdir import has_checkpoints, load_checkpoint
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
from eaglenet_jax.scoring.rerank import RerankOptions, rerank

SUMMARY = "CrossTVR by the weight of its second stage, from finished runs."
WEIGHTS = "0,0.02,0.05,0.1,0.2,0.5,1"
VALIDATION = "val"
Metrics = Mapping[str, Any]


def weighted_sum(first: np.ndarray, match: np.ndarray, top_k: int, weight: float) -> np.ndarray:
    """Add weight · P(match) to the similarities of each row's best candidates, which stay before all others.

    Args:
        first: [queries, items], similarities of the first stage.
        match: [queries, items], P(match) of the best candidates; other entries are not read.
        top_k: Candidates of a query.
        weight: Of P(match).

    Returns:
        [queries, items], to be ranked by row.
    """
    total = first.astype(np.float64)
    before_others = np.ptp(total) + 1
    for row, similarities in enumerate(first):
        best = best_items(similarities, min(top_k, len(similarities)))
        total[row, best] += weight * match[row, best] + before_others
    return total


def opened(workdir: Path) -> tuple[Experiment, Any]:
    """Open a run with a weight of 1 and load the parameters of its best checkpoint.

    Raises:
        UserError: It holds no run, or one whose head has no second stage with a weight.
    """
    loaded = load_checkpoint(workdir)
    config = loaded.config
    if "match_weight" not in head_class(config.system).options():
        raise UserError(f"{workdir} trained {config.system}, which has no head.match_weight; give runs of crosstvr")
    with config.unlocked():
        config.head.match_weight = 1.0
    return open_experiment(config), loaded.params


def metrics_by_weight(
    experiment: Experiment, params: Any, split: str, weights: Sequence[float], progress: Progress
) -> list[Metrics]:
    """Score one split by both stages and measure it with every weight. experiment: of `opened`."""
    head, head_params = experiment.system.head, params["head"]
    scorer = head.candidate_scorer(head_params)
    assert scorer is not None  # `opened`
    encoded, draws = encode_split(experiment, params, split, progress=progress), evaluation_draws(experiment)
    gallery = encoded.texts, encoded.videos
    options = ScoringOptions(progress=progress)
    first = np.asarray(score_gallery(scorer.head, scorer.params, *gallery, draws=draws, options=options))
    match = {}
    for side in ("t2v", "v2t"):
        how = RerankOptions(scorer.top_k, side, progress=progress)
        match[side] = rerank(first, head, head_params, *gallery, draws=draws, options=how)

    def measured(weight: float) -> Metrics:
        t2v = weighted_sum(first, match["t2v"], scorer.top_k, weight)
        v2t = weighted_sum(first.T, match["v2t"].T, scorer.top_k, weight).T
        return placement_metrics(place(t2v, encoded.text_video, v2t_scores=v2t))

    return [measured(weight) for weight in weights]


def best_weight(found: Sequence[Sequence[Metrics]], weights: Sequence[float]) -> float:
    """Return the weight with the best mean t2v R@1 over runs, of equal ones that with the best Rsum.

    Args:
        found: Metrics by run and weight, of validation.
        weights: The weights.
    """

    def quality(position: int) -> tuple[float, float]:
        runs = [run[position] for run in found]
        return statistics.mean(run["t2v"]["R@1"] for run in runs), statistics.mean(run["Rsum"] for run in runs)

    return weights[max(range(len(weights)), key=quality)]


def as_table(found: Mapping[str, Sequence[Sequence[Metrics]]], weights: Sequence[float]) -> str:
    """Format metrics by split, run and weight: means over the runs, with deviations where there are several."""
    columns = [(split, side, name) for split in found for side, name in (("t2v", "R@1"), ("v2t", "R@1"), ("", "Rsum"))]
    lines = ["| weight | " + " | ".join(" ".join(filter(None, column)) for column in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for position, weight in enumerate(weights):
        cells = []
        for split, side, name in columns:
            values = [(run[position][side] if side else run[position])[name] for run in found[split]]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {weight:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def numbers(text: str) -> tuple[float, ...]:
    """Read weights with commas."""
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--weights={text}: give numbers with commas") from error
    if not all(0 <= weight < np.inf for weight in weights):
        raise UserError(f"--weights={text}: a weight is 0 or more")
    return weights


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.match_weight", description=SUMMARY)
    parser.add_argument("row", type=Path, help="folder of one work directory a seed, as a sweep makes it, or one run")
    parser.add_argument("--split", default="test", help="beside validation; default %(default)s")
    parser.add_argument("--weights", default=WEIGHTS, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    weights = numbers(given.weights)
    runs = [given.row] if has_checkpoints(given.row) else sorted(filter(has_checkpoints, given.row.glob("seed_*")))
    if not runs:
        raise UserError(f"{given.row} holds no checkpoints and no seed_N with them; give a run, or a row of a sweep")
    found: dict[str, list[list[Metrics]]] = {VALIDATION: [], given.split: []}
    with ProgressBars() as progress:
        for workdir in runs:
            experiment, params = opened(workdir)
            for split, rows in found.items():
                shown = labelled(progress, f"{workdir.name}, {split}")
                rows.append(metrics_by_weight(experiment, params, split, weights, shown))
    chosen = best_weight(found[VALIDATION], weights)
    if given.json:
        print(json.dumps({"runs": list(map(str, runs)), "weights": weights, "chosen": chosen, **found}, indent=1))
        return
    print(as_table(found, weights))
    print(f"\nchosen on validation: --config.head.match_weight={chosen:g}")


if __name__ == "__main__":
    run_command(main)
