"""Evaluates the best checkpoint of a work directory, or a score matrix of any program:
python -m eaglenet_jax.evaluate --workdir=runs/demo --split=test
python -m eaglenet_jax.evaluate --similarity=sims.npy
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

POSTPROCESSING = ("dual_softmax", "sinkhorn", "qb_norm")
# Flags of one kind of evaluation only, by their names here.
OF_RUNS = ("split", "save", "shuffle_frames", "step", "check_leak")
OF_MATRICES = (
    "captions_per_video",
    "text_ids",
    "video_ids",
    "baseline",
    "postprocess",
    "query_bank",
    "temperature",
    "ties",
    "v2t_among",
    "json",
)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m eaglenet_jax.evaluate",
        description="Evaluate the best checkpoint of a run and of the runs that it started from, or a score matrix.",
        argument_default=argparse.SUPPRESS,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", type=Path, help="work directory of a run")
    what.add_argument(
        "--similarity",
        type=Path,
        metavar="FILE",
        help=".npy of any program, texts × videos, or a folder that --save wrote; needs no config and no checkpoint",
    )
    runs = parser.add_argument_group("with --workdir")
    runs.add_argument("--split", help="split to evaluate: test (default), val, train")
    runs.add_argument("--save", type=Path, metavar="DIR", help="write scores, ids and features into DIR")
    runs.add_argument(
        "--shuffle_frames", action="store_true", help="with every video's frames in random order: what is order worth?"
    )
    runs.add_argument("--step", type=int, help="evaluate the checkpoint of this step instead of the best")
    runs.add_argument(
        "--check-leak",
        action="store_true",
        help="drop, add and permute captions and videos: does a pair keep its score? exit code 1 if not",
    )
    matrices = parser.add_argument_group("with --similarity")
    matrices.add_argument(
        "--captions-per-video", metavar="N", help='captions of each video, rows in their order: "20", "1,4,3" or a file'
    )
    matrices.add_argument(
        "--text-ids", type=Path, metavar="FILE", help="per row the id of its video; lines, JSON, .npy"
    )
    matrices.add_argument("--video-ids", type=Path, metavar="FILE", help="per column its id")
    matrices.add_argument("--baseline", type=Path, metavar="FILE", help="scores of another run on the same queries")
    matrices.add_argument(
        "--postprocess",
        action="append",
        choices=POSTPROCESSING,
        help="an extra row beside the raw scores; dual_softmax and sinkhorn see all queries at once (transductive)",
    )
    matrices.add_argument("--query-bank", type=Path, metavar="FILE", help="for qb_norm: training texts × the videos")
    matrices.add_argument("--temperature", type=float, help="of the post-processing (default 100)")
    matrices.add_argument("--ties", choices=("mean", "optimistic", "pessimistic"), help="how ties count (default mean)")
    matrices.add_argument(
        "--v2t-among", choices=("videos", "captions"), help="what a video's best caption is placed among"
    )
    matrices.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Flags → evaluation → table."""
    given = vars(_parser().parse_args(arguments))
    foreign = [name for name in (OF_RUNS if "similarity" in given else OF_MATRICES) if name in given]
    if foreign:
        which = "--workdir" if "similarity" in given else "--similarity"
        raise UserError(f"--{foreign[0].replace('_', '-')} goes with {which}; --help lists the arguments")
    if "similarity" in given:
        from eaglenet_jax.retrieval.standalone import evaluate_files, format_report  # late: --help answers at once

        as_json = given.pop("json", False)
        report = evaluate_files(given.pop("similarity"), **given)
        print(json.dumps(report, indent=1) if as_json else format_report(report))
        return 0
    from eaglenet_jax.results import print_results
    from eaglenet_jax.run import check_run_leak, evaluate_run

    split = given.pop("split", "test")
    if given.pop("check_leak", False):
        for flag in ("save", "shuffle_frames"):
            if flag in given:
                raise UserError(f"--check-leak and --{flag} are two evaluations; give one of them")
        text, leaks = check_run_leak(given["workdir"], split, given.get("step"))
        print(text)
        return 1 if leaks else 0
    print_results(evaluate_run(given.pop("workdir"), split, **given), split)
    return 0


if __name__ == "__main__":
    run_command(main)
