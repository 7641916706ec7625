"""What reranking costs and saves: recall of the full ranking and of reranking against top_k, and the time of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.metrics.ranks import Placement, place, rank_metrics
from eaglenet_jax.scoring.gallery import score_gallery
from eaglenet_jax.scoring.rerank import candidate_recall, mean_pooled_cosine, rerank

SHOWN = ("R@1", "R@5", "R@10")


def rerank_report(
    candidates: np.ndarray | None,
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    *,
    draws: Draws,
    top_k: Sequence[int],
    text_video: np.ndarray | None = None,
    direction: str = "t2v",
    combine: str = "replace",
) -> dict[str, Any]:
    """The first stage, the full ranking, and a rerank for each of `top_k`, as plain numbers.

    Arguments as of `rerank`. text_video: [Nt], the video of each text, or None for the diagonal. Returns "direction",
    "combine", "queries", "items", "first_stage": metrics, "full": metrics and "seconds", and "rerank", a list of
    "top_k", metrics, "candidate_recall" (percent of queries whose right item is among the candidates: no R@K of the
    rerank is higher), "same_first" (percent of queries with the same first item as the full ranking), "seconds" and
    "time_saved" (percent of the full ranking's). metrics are R@1, R@5 and R@10 in percent. Seconds are of a second
    run, whose program is compiled; features are given, so encoding is in none of them. Raises UserError as `rerank`
    does, and if no top_k is given.
    """
    if not top_k:
        raise UserError("give at least one top_k to report on")
    given: tuple[Any, ...] = (head, head_params, texts, videos)
    if candidates is None:
        candidates = mean_pooled_cosine(texts, videos)

    def placement(scores: np.ndarray) -> Placement:
        both = place(scores, text_video)
        return both.t2v if direction == "t2v" else both.v2t

    def first(scores: np.ndarray) -> np.ndarray:
        return np.argmax(scores, axis=1 if direction == "t2v" else 0)

    rows = []
    full, full_seconds = _second_run(partial(score_gallery, *given, draws=draws))
    for count in top_k:
        run = partial(rerank, candidates, *given, draws=draws, top_k=count, direction=direction, combine=combine)
        result, seconds = _second_run(run)
        row = {"top_k": count} | _shown(placement(result))
        row["candidate_recall"] = candidate_recall(placement(candidates), count)
        row["same_first"] = 100.0 * float(np.mean(first(result) == first(full)))
        rows.append(row | {"seconds": seconds, "time_saved": 100.0 * (1 - seconds / full_seconds)})
    queries, items = full.shape if direction == "t2v" else full.shape[::-1]
    return {
        "direction": direction,
        "combine": combine,
        "queries": queries,
        "items": items,
        "first_stage": _shown(placement(candidates)),
        "full": _shown(placement(full)) | {"seconds": full_seconds},
        "rerank": rows,
    }


def format_rerank_report(report: dict[str, Any]) -> str:
    """The report as a table."""
    lines = [
        f"{report['direction']}, {report['queries']} queries × {report['items']} items, percent; second stage's scores "
        + ("replace the first's" if report["combine"] == "replace" else "are added to the first's"),
        f"{'':18}"
        + "".join(f"{name:>8}" for name in SHOWN)
        + f"{'in top_k':>10}{'same first':>12}{'seconds':>10}{'time saved':>12}",
        _line("first stage", report["first_stage"]),
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
