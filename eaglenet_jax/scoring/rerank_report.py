"""Recall and time of reranking for several numbers of candidates, next to those of the full ranking."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.metrics.ranks import Placement, place, rank_metrics
from eaglenet_jax.scoring.gallery import score_gallery
from eaglenet_jax.scoring.rerank import RerankOptions, candidate_recall, mean_pooled_cosine, rerank

SHOWN = ("R@1", "R@5", "R@10")


@dataclass(frozen=True)
class RerankReportOptions:
    """Options of the report.

    Attributes:
        top_k: Numbers of candidates, at least one.
        text_video: [Nt], the video of each text. None: the diagonal.
        direction: As of `RerankOptions`.
        combine: As of `RerankOptions`.
    """

    top_k: Sequence[int]
    text_video: np.ndarray | None = None
    direction: str = "t2v"
    combine: str = "replace"


def rerank_report(
    candidates: np.ndarray | None,
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    *,
    draws: Draws,
    options: RerankReportOptions,
) -> dict[str, Any]:
    """Measure the candidate scores, the full ranking, and a rerank for each number of candidates.

    Args:
        candidates: As of `rerank`, like the following.
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        draws: Evaluation noise.
        options: Options of the report.

    Returns:
        "direction", "combine", "queries", "items", "candidates": metrics, "full": metrics and "seconds", and "rerank",
        a list of "top_k", metrics, "candidate_recall" (percent, see `candidate_recall`), "same_first" (percent of
        queries with the same first item as the full ranking), "seconds" and "time_saved" (percent of the full
        ranking's). Metrics are R@1, R@5 and R@10 in percent. Seconds are of a second run, whose program is compiled,
        without encoding.

    Raises:
        UserError: As `rerank`, and if no number of candidates is given.
    """
    direction, combine = options.direction, options.combine
    if not options.top_k:
        raise UserError("give at least one top_k to report on")
    given: tuple[Any, ...] = (head, head_params, texts, videos)
    if candidates is None:
        candidates = mean_pooled_cosine(texts, videos)

    def placement(scores: np.ndarray) -> Placement:
        both = place(scores, options.text_video)
        return both.t2v if direction == "t2v" else both.v2t

    def first(scores: np.ndarray) -> np.ndarray:
        return np.argmax(scores, axis=1 if direction == "t2v" else 0)

    # The candidates of a video are captions, several of which may be of one video.
    placed = place(candidates, options.text_video, v2t_among="captions")
    among_items = placed.t2v if direction == "t2v" else placed.v2t
    rows = []
    full, full_seconds = _second_run(partial(score_gallery, *given, draws=draws))
    for count in options.top_k:
        how = RerankOptions(count, direction, combine)
        run = partial(rerank, candidates, *given, draws=draws, options=how)
        result, seconds = _second_run(run)
        row = {"top_k": count} | _shown(placement(result))
        row["candidate_recall"] = candidate_recall(among_items, count)
        row["same_first"] = 100.0 * float(np.mean(first(result) == first(full)))
        rows.append(row | {"seconds": seconds, "time_saved": 100.0 * (1 - seconds / full_seconds)})
    queries, items = full.shape if direction == "t2v" else full.shape[::-1]
    return {
        "direction": direction,
        "combine": combine,
        "queries": queries,
        "items": items,
        "candidates": _shown(placement(candidates)),
        "full": _shown(placement(full)) | {"seconds": full_seconds},
        "rerank": rows,
    }


def format_rerank_report(report: dict[str, Any]) -> str:
    """Format the report as a table of plain text."""
    lines = [
        f"{report['direction']}, {report['queries']} queries × {report['items']} items, percent; the head's scores "
        + ("replace the candidates'" if report["combine"] == "replace" else "are added to the candidates'"),
        f"{'':18}"
        + "".join(f"{name:>8}" for name in SHOWN)
        + f"{'in top_k':>10}{'same first':>12}{'seconds':>10}{'time saved':>12}",
        _line("candidates", report["candidates"]),
    ]
    lines += [_line(f"rerank, top {row['top_k']}", row) for row in report["rerank"]]
    return "\n".join([*lines, _line("full ranking", report["full"])])


def _line(name: str, row: dict[str, Any]) -> str:
    def cell(key: str, width: int, digits: int) -> str:
        return f"{row[key]:{width}.{digits}f}" if key in row else " " * width

    shown = "".join(cell(key, 8, 1) for key in SHOWN) + cell("candidate_recall", 10, 1) + cell("same_first", 12, 1)
    return f"{name:18}{shown}{cell('seconds', 10, 3)}{cell('time_saved', 12, 0)}".rstrip()


def _shown(placement: Placement) -> dict[str, float]:
    metrics = rank_metrics(placement.ranks())
    return {name: metrics[name] for name in SHOWN}


def _second_run(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    function()
    start = time.perf_counter()
    return function(), time.perf_counter() - start
