"""Benchmark of reranking a run's gallery: recall lost and time saved.

    python -m benchmarks.rerank --workdir=runs/demo [--split=test] [--direction=t2v] [--top-k=5,10,25,50] [--json]

Encodes a split with the best checkpoint, ranks it by mean-pooled cosine, by the head over all pairs, and by the head
over the top_k of the cosine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import announce
from eaglenet_jax.command import Parser, run_command, whole_numbers
from eaglenet_jax.runs.evaluate_split import evaluate_split, evaluation_draws
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.workdir import load_checkpoint
from eaglenet_jax.scoring.rerank_report import RerankReportOptions, format_rerank_report, rerank_report

SUMMARY = "Recall and time of reranking a run's gallery against the full ranking."


def main(arguments: Sequence[str]) -> None:
    """Print the report of one run."""
    parser = Parser(prog="python -m benchmarks.rerank", description=SUMMARY)
    parser.add_argument("--workdir", type=Path, required=True, help="work directory of a run")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--direction", choices=("t2v", "v2t"), default="t2v", help="default %(default)s")
    parser.add_argument("--combine", choices=("replace", "add"), default="replace", help="default %(default)s")
    parser.add_argument("--top-k", default="5,10,25,50", type=whole_numbers, help="of candidates, default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    loaded = load_checkpoint(given.workdir)
    experiment, params = open_experiment(loaded.config), loaded.params
    announce(f"encoding and scoring the split {given.split}")
    evaluation = evaluate_split(experiment, params, given.split)
    report = rerank_report(
        None,
        experiment.system.head,
        params["head"],
        evaluation.encoded.texts,
        evaluation.encoded.videos,
        draws=evaluation_draws(experiment),
        options=RerankReportOptions(
            top_k=given.top_k,
            text_video=evaluation.encoded.text_video,
            direction=given.direction,
            combine=given.combine,
        ),
    )
    print(json.dumps(report, indent=1) if given.json else format_rerank_report(report))


if __name__ == "__main__":
    run_command(main)
