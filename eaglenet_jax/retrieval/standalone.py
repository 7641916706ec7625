"""Evaluation of a score matrix from a file, whoever wrote it: no config, no checkpoint, no device.

`evaluate_files` reads, `evaluate_scores` counts, `format_report` prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.retrieval.metrics import (
    TIE_SHARE,
    Metrics,
    check_relevance,
    metrics_by_tie_rule,
    place,
    placement_metrics,
    recall_sum,
    retrieval_metrics,
)
from eaglenet_jax.retrieval.postprocess import dual_softmax, qb_norm, sinkhorn
from eaglenet_jax.retrieval.score_files import (
    load_similarity,
    read_list,
    read_scores,
    relevance_from_captions,
    relevance_from_ids,
)
from eaglenet_jax.retrieval.significance import metric_intervals, paired_test
from eaglenet_jax.retrieval.summary import chance_metrics, results_table

ARROWS = {"t2v": "text → video", "v2t": "video → text"}


def evaluate_files(
    similarity: str | Path,
    *,
    captions_per_video: str | None = None,
    text_ids: str | Path | None = None,
    video_ids: str | Path | None = None,
    baseline: str | Path | None = None,
    query_bank: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`evaluate_scores` of files. options: its keyword arguments.

    similarity, baseline: .npy files (`load_similarity`), or folders that `evaluate --save` wrote, which know their
    ids. Relevance comes from captions_per_video or from both id files (`read_list`); without them from the folder,
    else it is the diagonal. query_bank: .npy of training texts × the same videos. Raises UserError on anything that
    does not fit.
    """
    scores, text_video = read_scores(similarity)
    if captions_per_video is not None and (text_ids is not None or video_ids is not None):
        raise UserError("give either captions per video or text and video ids, not both")
    if (text_ids is None) != (video_ids is None):
        raise UserError("text ids and video ids are needed together: one says to which of the others a row belongs")
    if captions_per_video is not None:
        text_video = relevance_from_captions(captions_per_video, scores.shape)
    elif text_ids is not None and video_ids is not None:
        text_video = relevance_from_ids(read_list(text_ids), read_list(video_ids), scores.shape)
    elif text_video is None and scores.shape[0] != scores.shape[1]:
        raise UserError(
            f"{similarity} is {scores.shape[0]} texts × {scores.shape[1]} videos, not square: "
            "give --captions-per-video, or --text-ids and --video-ids"
        )
    return evaluate_scores(
        scores,
        text_video,
        baseline=None if baseline is None else read_scores(baseline)[0],
        query_bank=None if query_bank is None else load_similarity(query_bank),
        name=_display_name(similarity),
        baseline_name="baseline" if baseline is None else _display_name(baseline),
        **options,
    )


def evaluate_scores(
    scores: np.ndarray,
    text_video: np.ndarray | None = None,
    *,
    baseline: np.ndarray | None = None,
    query_bank: np.ndarray | None = None,
    postprocess: Sequence[str] = (),
    temperature: float = 100.0,
    ties: str = "mean",
    v2t_among: str = "videos",
    resamples: int = 2000,
    seed: int = 0,
    name: str = "scores",
    baseline_name: str = "baseline",
) -> dict[str, Any]:
    """Everything there is to say about a score matrix [Nt, Nv], as a dict that JSON can hold.

    postprocess: of "dual_softmax", "sinkhorn", and "qb_norm", which needs `query_bank` and changes text→video only. The
    rest as in `place`, `metric_intervals` and `paired_test` (baseline: [Nt, Nv] of another run on the same queries).
    """
    if ties not in TIE_SHARE:
        # Under "released" a query counts as often as it ties, so queries of two runs cannot be paired.
        raise UserError(f"tie rule {ties!r} is unknown here: use one of {', '.join(TIE_SHARE)}")
    text_video = check_relevance(scores.shape, text_video)
    placement = place(scores, text_video, v2t_among=v2t_among)
    report: dict[str, Any] = {
        "name": name,
        "texts": scores.shape[0],
        "videos": scores.shape[1],
        "ties": ties,
        "v2t_among": v2t_among,
        "metrics": placement_metrics(placement, ties),
        "intervals": metric_intervals(placement, ties, resamples=resamples, seed=seed),
        "tied_queries": {
            "t2v": int(np.count_nonzero(placement.t2v.tied)),
            "v2t": int(np.count_nonzero(placement.v2t.tied)),
        },
        "by_tie_rule": metrics_by_tie_rule(placement),
        "as_released": placement_metrics(placement, "released"),
        "chance": chance_metrics(scores.shape, text_video),
    }
    if v2t_among == "captions":  # chance is counted among videos
        report["chance"] = {"t2v": report["chance"]["t2v"]}
    if postprocess:
        report["postprocessed"] = {
            method: _postprocessed(scores, text_video, method, temperature, query_bank, ties, v2t_among)
            for method in postprocess
        }
    if baseline is not None:
        if baseline.shape != scores.shape:
            raise UserError(
                f"{baseline_name} has shape {baseline.shape}, {name} {scores.shape}: compare the same queries"
            )
        other = place(baseline, text_video, v2t_among=v2t_among)
        report["baseline"] = {
            "name": baseline_name,
            "metrics": placement_metrics(other, ties),
            "difference": paired_test(placement, other, ties, seed=seed),
        }
    return report


def format_report(report: Mapping[str, Any]) -> str:
    """The report as plain text: the table, the intervals, what ties matter, and the comparison with the baseline."""
    rows: list[tuple[str, Metrics]] = [("chance", report["chance"])]
    if "baseline" in report:
        rows.append((report["baseline"]["name"], report["baseline"]["metrics"]))
    rows.append((report["name"], report["metrics"]))
    if len(report["by_tie_rule"]) > 1:
        rows += [(f"ties {rule}", m) for rule, m in report["by_tie_rule"].items() if rule != report["ties"]]
        counted = "/".join(str(report["as_released"][side]["queries"]) for side in ARROWS)
        rows.append((f"as released ({counted} queries)", report["as_released"]))
    for method, metrics in report.get("postprocessed", {}).items():
        rows.append((f"+ {method}" + ("" if method == "qb_norm" else " (transductive)"), metrics))
    tied = report["tied_queries"]
    lines = [f"{report['texts']} texts × {report['videos']} videos", "", results_table(rows), ""]
    lines += _interval_lines(report["intervals"])
    if any(tied.values()):
        lines.append("")
        lines.append(
            f"The right item ties with another for {tied['t2v']} texts and {tied['v2t']} videos; "
            f"the rule is {report['ties']!r}."
        )
    if "baseline" in report:
        lines += ["", f"{report['name']} − {report['baseline']['name']}, paired by query (a lower MnR is better):"]
        lines += _difference_lines(report["baseline"]["difference"])
    return "\n".join(lines)


def _display_name(path: str | Path) -> str:
    return Path(path).stem or str(path)


def _postprocessed(
    scores: np.ndarray,
    text_video: np.ndarray,
    method: str,
    temperature: float,
    bank: np.ndarray | None,
    ties: str,
    v2t_among: str,
) -> Metrics:
    if method == "dual_softmax":
        by_direction = {side: dual_softmax(scores, temperature, side) for side in ("t2v", "v2t")}
    elif method == "sinkhorn":
        by_direction = dict.fromkeys(("t2v", "v2t"), sinkhorn(scores, temperature))
    elif method == "qb_norm":
        if bank is None:
            raise UserError("qb_norm needs a query bank: scores of training texts (rows) against the same videos")
        by_direction = {"t2v": qb_norm(scores, bank)}
    else:
        raise UserError(f"post-processing {method!r} is unknown: use dual_softmax, sinkhorn or qb_norm")
    sides = {
        side: retrieval_metrics(changed, text_video, ties, v2t_among=v2t_among)[side]
        for side, changed in by_direction.items()
    }
    return sides | ({"Rsum": recall_sum(**sides)} if len(sides) == 2 else {})


def _interval_lines(intervals: Metrics) -> list[str]:
    names = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
    lines = ["95 % intervals" + "".join(f"{name:>14}" for name in names)]
    for side, arrow in ARROWS.items():
        cells = (f"{low:.1f} – {high:.1f}" for low, high in (intervals[side][name] for name in names))
        lines.append(f"{arrow:14}" + "".join(f"{cell:>14}" for cell in cells))
    return lines


def _difference_lines(difference: Metrics) -> list[str]:
    lines = [f"{'':20}{'difference':>12}{'95 % interval':>22}{'p':>10}"]
    for side, arrow in ARROWS.items():
        lines += [f"{arrow}  {name:6}" + _difference(entry) for name, entry in difference[side].items()]
    return [*lines, f"{'both':14}{'Rsum':6}" + _difference(difference["Rsum"])]


def _difference(entry: Mapping[str, float]) -> str:
    interval = f"{entry['low']:+.2f} to {entry['high']:+.2f}"
    return f"{entry['difference']:+12.2f}{interval:>22}{entry['p']:10.4f}"
