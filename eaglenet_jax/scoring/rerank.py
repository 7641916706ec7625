"""Reranking: the head scores only the candidates of each query that a cheaper scorer ranks best."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.metrics.ranks import Placement, best_items
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.scoring.gallery import (
    chosen_block,
    default_memory_budget,
    make_score,
    prepare_all,
    prepare_videos,
    temporary_bytes,
)
from eaglenet_jax.scoring.host import min_over_processes, padded_rows, row_count, to_host

MOST_QUERIES = 64  # scored at a time


@dataclass(frozen=True)
class RerankOptions:
    """How a gallery is reranked.

    Attributes:
        top_k: Candidates of each query that the head scores, at least 1.
        direction: "t2v", a query is a text; "v2t", a query is a video.
        combine: "replace", the head's score; "add", the sum of candidate score and head's score.
        batch: Queries scored at a time. None: as many as fit `memory_budget`, at most 64.
        memory_budget: In bytes, as of `ScoringOptions`.
        progress: Called after each batch with "reranking queries" and numbers of queries.
    """

    top_k: int
    direction: str = "t2v"
    combine: str = "replace"
    batch: int | None = None
    memory_budget: int | None = None
    progress: Progress = no_progress


def rerank(
    candidates: np.ndarray | None,
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    *,
    draws: Draws,
    options: RerankOptions,
) -> np.ndarray:
    """Rerank the best candidates of each query by the head, before all other items.

    The other items keep the order of the candidate scores, shifted so that the best of them is 1 below the query's last
    reranked candidate. With all items as candidates and "replace" the scores are those of `score_gallery`.

    Args:
        candidates: [Nt, Nv], finite scores of any cheaper scorer. None: `mean_pooled_cosine`. Of equal scores at the
            edge of top_k the first in order are candidates.
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        draws: Evaluation noise, as of `score_gallery`.
        options: How many candidates, in which direction, and how scores are combined.

    Returns:
        [Nt, Nv] float64, to be ranked in the direction of the options only.

    Raises:
        UserError: If candidates have another shape or are not finite, or if an option is unknown or does not fit.
    """
    counts = row_count(texts), row_count(videos)
    direction, combine, batch = options.direction, options.combine, options.batch
    if candidates is None:
        candidates = mean_pooled_cosine(texts, videos)
    _check(candidates, counts, options)
    by_query = candidates if direction == "t2v" else candidates.T
    result = by_query.astype(np.float64)
    queries, items = result.shape
    top_k = min(options.top_k, items)
    score = make_score(head)
    prepared = (
        prepare_all(score.prepare_text, head_params, texts),
        prepare_videos(score, head_params, videos, draws),
    )
    score_pairs = make_score_pairs(head, direction)

    def needed_bytes(size: tuple[int, int]) -> int:
        some = np.zeros(size[0], np.int64), np.zeros(size, np.int64)
        return temporary_bytes(score_pairs.lower(head_params, *prepared, draws, *some))

    if batch is None:
        budget = options.memory_budget
        if budget is None:
            budget = min_over_processes(default_memory_budget())
        batch, _ = chosen_block((min(MOST_QUERIES, queries), top_k), (True, False), needed_bytes, budget)
    for start in range(0, queries, batch):
        rows = padded_rows(start, batch, queries)
        best = np.stack([best_items(by_query[row], top_k) for row in rows])
        rescored = to_host(score_pairs(head_params, *prepared, draws, rows, best))
        for row, items_of_row, new in zip(rows[: queries - start], best, rescored, strict=False):
            _put_first(result[row], items_of_row, new, combine)
        options.progress("reranking queries", min(start + batch, queries), queries)
    return result if direction == "t2v" else result.T


@functools.lru_cache(maxsize=16)
def make_score_pairs(head: Head, direction: str = "t2v") -> Any:
    """Make the jitted function that scores lists of pairs, `vmap` of `score` over 1 × K gathers.

    Args:
        head: Of the system.
        direction: "t2v" or "v2t".

    Returns:
        f(params, T, V, draws, queries [Q], items [Q, K]) → [Q, K], where T and V are all prepared texts and videos, and
        queries and items are rows of T and V for "t2v", of V and T for "v2t".
    """

    def score(params: Any, text: Any, video: Any, draws: Draws) -> jax.Array:
        scores: Any = head.apply({"params": params}, text, video, draws, method="score")
        return scores.similarity.reshape(-1)

    def score_pairs(
        params: Any, text: Any, video: Any, draws: Draws, queries: jax.Array, items: jax.Array
    ) -> jax.Array:
        one = queries[:, None]
        text_rows, video_rows = (one, items) if direction == "t2v" else (items, one)
        text = jax.tree.map(lambda leaf: leaf[text_rows], text)
        video = jax.tree.map(lambda leaf: leaf[video_rows], video)
        return jax.vmap(score, in_axes=(None, 0, 0, None))(params, text, video, draws)

    return jax.jit(score_pairs)


def mean_pooled_cosine(texts: TextFeatures, videos: VideoFeatures) -> np.ndarray:
    """Compute the cosine of each text and the mean of each video's unit-length real frames, [Nt, Nv] float32."""
    mask = np.asarray(videos.mask)[..., None]
    frames = np.where(mask, _unit(np.asarray(videos.frames, np.float32)), 0).sum(axis=1)
    return _unit(np.asarray(texts.pooled, np.float32)) @ _unit(frames).T


def candidate_recall(placement: Placement, top_k: int) -> float:
    """Compute the percentage of queries whose right item is a candidate; no R@K of a rerank can be higher."""
    return 100.0 * float(np.mean(placement.ranks() < top_k + 1))


def _unit(x: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def _put_first(scores: np.ndarray, items: np.ndarray, rescored: np.ndarray, combine: str) -> None:
    """Change one query's candidate scores [N] in place: `items` get their new scores, the others follow."""
    new = rescored.astype(np.float64) + (scores[items] if combine == "add" else 0.0)
    others = np.ones(len(scores), bool)
    others[items] = False
    if others.any():
        scores[others] += new.min() - 1 - scores[others].max()
    scores[items] = new


def _check(candidates: np.ndarray, counts: tuple[int, int], options: RerankOptions) -> None:
    if options.direction not in ("t2v", "v2t"):
        raise UserError(f"direction {options.direction!r} is unknown: use 't2v' or 'v2t'")
    if options.combine not in ("replace", "add"):
        raise UserError(f"combine={options.combine!r} is unknown: use 'replace' or 'add'")
    if options.top_k < 1:
        raise UserError(f"top_k={options.top_k}: rerank at least one candidate")
    if options.batch is not None and options.batch < 1:
        raise UserError(f"batch={options.batch}: score at least one query at a time")
    if candidates.shape != counts:
        raise UserError(f"candidates have shape {candidates.shape}, the gallery {counts[0]} texts × {counts[1]} videos")
    if not np.isfinite(candidates).all():
        row, column = np.argwhere(~np.isfinite(candidates))[0]
        raise UserError(f"candidate score of text {row} and video {column} is {candidates[row, column]}, not finite")
