"""Evaluate the best checkpoint of a work directory, a checkpoint without one, or a score matrix of any program:
python -m eaglenet_jax.evaluate --workdir=runs/demo --split=test
python -m eaglenet_jax.evaluate --config=demo --checkpoint=runs/demo/checkpoints
python -m eaglenet_jax.evaluate --similarity=sims.npy --report=report.html
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

POSTPROCESSING = ("dual_softmax", "sinkhorn", "qb_norm")
# Flags of one kind of evaluation only, by their names here.
OPTIONS = ("split", "shuffle_frames", "step", "noise_seeds")  # of an evaluation of checkpoints
OF_RUNS = (*OPTIONS, "save", "check_leak", "source", "config")
FORM = ("padded", "mask", "transpose", "distances")
OF_MATRICES = (
    "captions_per_video",
    "text_ids",
    "video_ids",
    "captions",
    "relevance",
    *FORM,
    "query_bank",
    "query_bank_v2t",
    "validation",
    "validation_captions_per_video",
    "validation_text_ids",
    "validation_video_ids",
    "ties",
    "v2t_among",
)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m eaglenet_jax.evaluate",
        description="Evaluate the best checkpoint of a run and of the runs that it started from, or a score matrix.",
        argument_default=argparse.SUPPRESS,
        epilog="With --checkpoint, any field of the config can be overridden, as --config.data.prepared=DIR.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", type=Path, help="work directory of a run")
    what.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="checkpoints without a work directory; needs --config"
    )
    what.add_argument(
        "--similarity",
        type=Path,
        metavar="FILE",
        help="scores of any program, texts × videos: .npy, .npz, .pt, .mat, .csv, .tsv or .parquet (FILE:NAME names an "
        "array), with the names of rows and columns or without, or a folder that --save wrote; needs no config and no "
        "checkpoint",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="PATH",
        help="scores, matched with a run by their names, or a run, to compare with by query",
    )
    parser.add_argument(
        "--postprocess",
        action="append",
        choices=POSTPROCESSING,
        help="an extra row next to the raw scores; dual_softmax and sinkhorn see all queries at once (transductive)",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        help="temperature of the --postprocess methods; with several, --qb-temperature sets qb_norm's. Default: chosen "
        "on validation for dual_softmax, else 100",
    )
    parser.add_argument("--qb-temperature", type=float, help="temperature of qb_norm (default 20, as published)")
    parser.add_argument(
        "--share-captions",
        action="store_true",
        help="a caption that several videos have is right for each of them; of a matrix, needs --captions",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page with everything, as report.html")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    runs = parser.add_argument_group("with --workdir or --checkpoint")
    runs.add_argument("--config", metavar="NAME[:ARGUMENTS]", help="with --checkpoint: config that it belongs to")
    runs.add_argument(
        "--from", dest="source", metavar="NAME", help="with --checkpoint: a file of another program (see convert)"
    )
    runs.add_argument("--split", help="split to evaluate: val (default), test, train")
    runs.add_argument("--save", type=Path, metavar="DIR", help="write scores, ids and features into DIR")
    runs.add_argument(
        "--shuffle-frames", action="store_true", help="shuffle each video's frames, to measure how much order matters"
    )
    runs.add_argument("--step", type=int, help="evaluate the checkpoint of this step instead of the best")
    runs.add_argument(
        "--noise-seeds", type=int, metavar="R", help="score with R seeds of the noise: their mean and deviation"
    )
    runs.add_argument(
        "--check-leak",
        action="store_true",
        help="drop, add and permute captions and videos: does a pair keep its score? exit code 1 if not",
    )
    matrices = parser.add_argument_group("with --similarity")
    matrices.add_argument(
        "--captions-per-video",
        metavar="N",
        help='captions of each video, rows in their order: "20", "1,4,3" or a file of counts',
    )
    matrices.add_argument(
        "--text-ids",
        type=Path,
        metavar="FILE",
        help="per row the id of its video, perhaps with #number, or with --relevance its own; lines, JSON, JSON lines, "
        ".npy, FILE:NAME of a .npz or FILE:COLUMN of a table",
    )
    matrices.add_argument("--video-ids", type=Path, metavar="FILE", help="per column its id, as --text-ids")
    matrices.add_argument(
        "--relevance",
        type=Path,
        metavar="FILE",
        help="pairs of a text and a right video, perhaps with a grade (lines, CSV, .npy, JSON text → videos), or TREC "
        "qrels, where a text has several right videos",
    )
    matrices.add_argument("--captions", type=Path, metavar="FILE", help="per row its caption, for the report")
    matrices.add_argument(
        "--padded",
        action="store_true",
        help="rows of -inf, NaN or any one value, as -1e9, are padding and no texts; any other -inf is the lowest "
        "score. Also reads [videos, captions, videos]",
    )
    matrices.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="which rows are texts: 0 and 1 or True and False for each, or how many captions each video has",
    )
    matrices.add_argument("--transpose", action="store_true", help="the matrix is videos × texts")
    matrices.add_argument("--distances", action="store_true", help="the matrix holds distances: lower is better")
    matrices.add_argument("--query-bank", type=Path, metavar="FILE", help="for qb_norm: training texts × the videos")
    matrices.add_argument(
        "--query-bank-v2t", type=Path, metavar="FILE", help="for qb_norm of video → text: the texts × training videos"
    )
    matrices.add_argument(
        "--validation", type=Path, metavar="FILE", help="scores of a validation split, to choose the temperature on"
    )
    for name, words in (("captions-per-video", "N"), ("text-ids", "FILE"), ("video-ids", "FILE")):
        matrices.add_argument(f"--validation-{name}", metavar=words, help=f"as --{name}, of the validation scores")
    matrices.add_argument("--ties", choices=("mean", "optimistic", "pessimistic"), help="how ties count (default mean)")
    matrices.add_argument(
        "--v2t-among",
        choices=("videos", "captions"),
        help="rank a video's best caption among the best captions of all videos (default), or among all captions",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Evaluate what the flags name and print a table."""
    known, overrides = _parser().parse_known_args(arguments)
    given = vars(known)
    foreign = [name for name in (OF_RUNS if "similarity" in given else OF_MATRICES) if name in given]
    if foreign:
        flag = "--from" if foreign[0] == "source" else f"--{foreign[0].replace('_', '-')}"
        which = "cannot be used with" if "similarity" in given else "is used only with"
        raise UserError(f"{flag} {which} --similarity; --help lists the arguments")
    if ("config" in given) != ("checkpoint" in given):
        raise UserError("--config and --checkpoint go together: the checkpoint, and the config that it belongs to")
    if "checkpoint" not in given and (overrides or "source" in given):
        raise UserError(f"{overrides[0] if overrides else '--from'} goes with --checkpoint; --help lists the arguments")
    if given.get("noise_seeds", 1) < 1:
        raise UserError(f"--noise-seeds={given['noise_seeds']}: give 1 or more")
    page = given.get("report")
    if page is not None and page.is_dir():
        raise UserError(f"--report={page} is a folder; give the page a name, as {page}/report.html")
    if "similarity" in given:
        return _matrix(given)
    if given.pop("check_leak", False):
        return _leak(given)
    return _run(given, overrides)


def _matrix(given: dict[str, Any]) -> int:
    from eaglenet_jax.metrics.id_files import CAPTION_COLUMNS, ID_COLUMNS
    from eaglenet_jax.metrics.measured_files import measure_files
    from eaglenet_jax.reports.score_text import format_report  # late: --help answers at once

    as_json, page = given.pop("json", False), given.pop("report", None)
    captions, videos = given.get("captions"), given.get("video_ids")
    if captions is not None and page is None and not given.get("share_captions"):
        raise UserError("--captions are for the report and --share-captions: give --report=FILE or that as well")
    path = given["similarity"]
    found = measure_files(path, **_files_beside(given), options=_measure_options(given))
    named: list[list[str] | None] = [None, None]
    if page is not None:  # read before anything is printed: what is wrong with them ends the command
        texts = found.scores.shape[0] if found.kept is None else len(found.kept)
        named = [
            _names(captions, texts, CAPTION_COLUMNS, "texts"),
            _names(videos, found.scores.shape[1], ID_COLUMNS, "videos"),
        ]
    print(json.dumps(found.summary, indent=1) if as_json else format_report(found.summary))
    if page is not None:
        from eaglenet_jax.reports.notable_queries import Gallery
        from eaglenet_jax.reports.score_page import Context, scores_hash, write_score_page

        if named[0] is not None and found.kept is not None:
            named[0] = list(itertools.compress(named[0], found.kept))  # without texts that have no right video
        gallery = Gallery.numbered(found.scores.shape, *named)
        facts = [("scores", str(path.absolute())), ("BLAKE2b", scores_hash(found.scores))]
        written = write_score_page(page, found, Context(found.summary["name"], facts=facts), gallery)
        if not as_json:
            print(f"\n  {written}")
    return 0


def _names(file: Path | None, count: int, columns: Sequence[str], of: str) -> list[str] | None:
    """Read a caption or an id for each of `count` texts or videos, `of`; None without a file."""
    from eaglenet_jax.metrics.id_files import read_list

    if file is None:
        return None
    rows = list(map(str, read_list(file, count, columns)))
    if len(rows) != count:
        raise UserError(f"{file} has {len(rows)} rows for scores of {count} {of}; give one for each, in their order")
    return rows


def _files_beside(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `measure_files` besides the scores, from the flags."""
    from eaglenet_jax.metrics.measured_files import QueryBankFiles, RelevanceFiles, ValidationFiles
    from eaglenet_jax.metrics.score_files import MatrixForm

    if given.get("share_captions") and "captions" not in given:
        raise UserError("--share-captions needs the captions of the rows: give --captions=FILE")
    ids = given.get("captions_per_video"), given.get("text_ids"), given.get("video_ids")
    shared = given.get("captions") if given.get("share_captions") else None
    relevance = RelevanceFiles(*ids, pairs=given.get("relevance"), captions=shared)
    banks = given.get("query_bank"), given.get("query_bank_v2t")
    names = ("validation_captions_per_video", "validation_text_ids", "validation_video_ids")
    of_validation = [given.get(name) for name in names]
    if "validation" not in given and any(of_validation):
        raise UserError("there are ids or counts of validation scores without these: give --validation=FILE")
    validation = ValidationFiles(given["validation"], RelevanceFiles(*of_validation)) if "validation" in given else None
    return {
        "relevance": relevance,
        "form": MatrixForm(**{name: given[name] for name in FORM if name in given}),
        "baseline": given.get("baseline"),
        "query_bank": None if banks == (None, None) else QueryBankFiles(*banks),
        "validation": validation,
    }


def _measure_options(given: dict[str, Any]) -> Any:
    """The `MeasureOptions` among the flags, which are taken out of `given`."""
    from eaglenet_jax.metrics.score_report import MeasureOptions

    names = ("postprocess", "temperature", "qb_temperature", "ties", "v2t_among")
    return MeasureOptions(**{name: given.pop(name) for name in names if name in given})


def _leak(given: dict[str, Any]) -> int:
    from eaglenet_jax.runs.evaluate import check_run_leak

    if "workdir" not in given:
        raise UserError("--check-leak needs the work directory of a run: --workdir=DIR")
    for flag in set(given) - {"workdir", "split", "step"}:
        raise UserError(f"--check-leak and --{flag.replace('_', '-')} are two evaluations; give one of them")
    text, leaks = check_run_leak(given["workdir"], given.get("split"), given.get("step"))
    print(text)
    return 1 if leaks else 0


def _run(given: dict[str, Any], overrides: Sequence[str]) -> int:
    from eaglenet_jax.config.loading import load_config
    from eaglenet_jax.progress import ProgressBars
    from eaglenet_jax.reports.score_text import detail_lines, extra_rows
    from eaglenet_jax.reports.stage_results import print_results
    from eaglenet_jax.runs.evaluate import EvaluationOptions, evaluate_checkpoint, evaluate_run, save_stage
    from eaglenet_jax.runs.page import (
        baseline_scores,
        check_baseline,
        measure_stage,
        run_notes,
        stage_name,
        write_run_page,
    )

    as_json, page, save = given.pop("json", False), given.pop("report", None), given.pop("save", None)
    baseline, measuring = given.pop("baseline", None), _measure_options(given)
    share_captions = given.pop("share_captions", False)
    if baseline is not None:
        check_baseline(baseline)
    options = EvaluationOptions(**{name: given[name] for name in OPTIONS if name in given})
    with ProgressBars() as progress:
        if "checkpoint" in given:
            config = load_config(given["config"], overrides)
            stages = evaluate_checkpoint(
                config, given["checkpoint"], options, source=given.get("source"), progress=progress
            )
        else:
            stages = evaluate_run(given["workdir"], options, progress=progress)
        last = stages[-1]
        other = None if baseline is None else baseline_scores(baseline, last, progress)
        found = measure_stage(last, baseline=other, options=measuring, progress=progress, share_captions=share_captions)
    results = [stage.result for stage in stages]
    split = last.evaluation.encoded.split.name
    earlier = [(stage_name(stage.result), stage.evaluation.placement) for stage in stages[:-1]]
    if as_json:
        stage_values = [dataclasses.asdict(result) for result in results]
        print(json.dumps({"split": split, "stages": stage_values, "scores": found.summary}, indent=1))
    else:
        rows = [] if other is None else [(other.name, found.summary["baseline"]["metrics"])]
        if share_captions:
            rows.append(("shared captions right", found.summary["metrics"]))
        notes = run_notes(results[-1], split, last)
        print_results(
            results, split, [*rows, *extra_rows(found.summary)], ["", *detail_lines(found.summary), "", *notes]
        )
    # After the table, which is not lost where these cannot be written.
    if save is not None:
        save_stage(last, save)
    if page is not None:
        written = write_run_page(page, results, last, found, earlier)
        if not as_json:
            print(f"  {written}")
    return 0


if __name__ == "__main__":
    run_command(main, computes=True)
