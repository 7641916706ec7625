"""Ranks and retrieval metrics of a score matrix, in NumPy.

Rows are texts, columns are videos, higher is better. `text_video[i]` is the column of text i's video; several texts may
share a video. Ranks are counted chunk by chunk (how many items score higher, how many tie), never by sorting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError

TIE_SHARE = {"optimistic": 0.0, "mean": 0.5, "pessimistic": 1.0}
TIE_RULES = (*TIE_SHARE, "released")
RECALL_DEPTHS = (1, 5, 10, 50)
CHUNK_ELEMENTS = 1 << 22  # scores looked at together, 16 MiB in float32

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Placement:
    """Where the right item of each query stands: how many other items score higher, and how many tie with it.

    greater, tied: [N] int64.
    """

    greater: np.ndarray
    tied: np.ndarray

    def ranks(self, ties: str = "mean") -> np.ndarray:
        """Ranks from 1, [N] float64: 1 + greater + no ties ("optimistic"), half ("mean") or all ("pessimistic").

        "released" looks for the right score in the sorted row as the released programs do and so counts a query once
        for every item that has it: [N + ties] ranks, those of one query side by side.
        """
        if ties not in TIE_RULES:
            raise UserError(f"tie rule {ties!r} is unknown: use one of {', '.join(TIE_RULES)}")
        if ties == "released":
            first = np.repeat(1.0 + self.greater, self.tied + 1)
            starts = np.repeat(np.cumsum(self.tied + 1) - (self.tied + 1), self.tied + 1)
            return first + np.arange(len(first)) - starts
        return 1.0 + self.greater + TIE_SHARE[ties] * self.tied


@dataclass(frozen=True)
class RetrievalPlacement:
    """Both directions of one score matrix.

    t2v: per text. v2t: per video that has a caption. text_video: [Nt], the video of each text query. videos: [Nq], the
    column of each video query, ascending.
    """

    t2v: Placement
    v2t: Placement
    text_video: np.ndarray
    videos: np.ndarray


def check_relevance(shape: tuple[int, ...], text_video: np.ndarray | None) -> np.ndarray:
    """The video of each text, [Nt] int64, checked against the shape of the scores. None means the diagonal.

    Raises UserError if the scores are not a non-empty matrix, are not square without `text_video`, or do not fit it.
    """
    if len(shape) != 2 or 0 in shape:
        raise UserError(f"scores have shape {shape}: expected a non-empty matrix, texts × videos")
    texts, videos = shape
    if text_video is None:
        if texts != videos:
            raise UserError(
                f"scores are {texts} texts × {videos} videos, not square: say which video each text belongs to"
            )
        return np.arange(texts)
    text_video = np.asarray(text_video)
    if text_video.shape != (texts,) or not np.issubdtype(text_video.dtype, np.integer):
        raise UserError(
            f"text_video has shape {text_video.shape} and type {text_video.dtype}: expected one integer for each "
            f"of the {texts} rows of scores"
        )
    wrong = np.flatnonzero((text_video < 0) | (text_video >= videos))
    if wrong.size:
        raise UserError(
            f"text {wrong[0]} belongs to video {text_video[wrong[0]]}, but the scores have columns 0 to {videos - 1}"
        )
    return text_video.astype(np.int64)


def place(
    scores: np.ndarray,
    text_video: np.ndarray | None = None,
    *,
    v2t_among: str = "videos",
    v2t_scores: np.ndarray | None = None,
) -> RetrievalPlacement:
    """Place the right items of every query of both directions.

    scores: [Nt, Nv], finite. text_video: [Nt] int, or None for the diagonal. Text→video: the one right video among all
    videos. Video→text: the video's best caption; a video without a caption is no query there, but stays in the gallery
    of the texts. `v2t_among` says what it is placed among: "videos", the best captions of the other videos, as the
    released programs count; or "captions", every caption of the other videos. Both are the same with one caption a
    video, and R@1 is always the same. v2t_scores: [Nt, Nv] to rank texts by, where a system that reranks has others.
    Memory: O(chunk), at least one video's captions.
    Raises UserError on scores that are not finite real numbers, and on relevance that does not fit.
    """
    if v2t_among not in ("videos", "captions"):
        raise UserError(f"v2t_among={v2t_among!r} is unknown: use 'videos' or 'captions'")
    scores = np.asanyarray(scores)  # keeps a memory map a memory map
    text_video = check_relevance(scores.shape, text_video)
    by_video = scores if v2t_scores is None else np.asanyarray(v2t_scores)
    if by_video.shape != scores.shape:
        raise UserError(f"scores of texts to videos have shape {scores.shape}, of videos to texts {by_video.shape}")
    for matrix in (scores, by_video):
        if not (np.issubdtype(matrix.dtype, np.floating) or np.issubdtype(matrix.dtype, np.integer)):
            raise UserError(f"scores have type {matrix.dtype}: expected real numbers")
    rows = np.arange(len(text_video))
    videos, video_query = np.unique(text_video, return_inverse=True)
    t2v = _place_texts(scores, scores[rows, text_video])
    v2t = _place_videos(by_video, by_video[rows, text_video], videos, video_query, v2t_among)
    return RetrievalPlacement(t2v, v2t, text_video, videos)


def _place_texts(scores: np.ndarray, right: np.ndarray) -> Placement:
    greater, tied = np.empty(len(right), np.int64), np.empty(len(right), np.int64)
    for rows, block in _row_blocks(scores, np.arange(len(right)), np.arange(len(right) + 1)):
        greater[rows] = np.count_nonzero(block > right[rows, None], axis=1)
        tied[rows] = np.count_nonzero(block == right[rows, None], axis=1) - 1
    return Placement(greater, tied)


def _place_videos(
    scores: np.ndarray, right: np.ndarray, videos: np.ndarray, video_query: np.ndarray, among: str
) -> Placement:
    order = np.argsort(video_query, kind="stable")  # captions of a video side by side
    starts = np.searchsorted(video_query[order], np.arange(len(videos) + 1))
    best = np.maximum.reduceat(right[order], starts[:-1])
    greater, tied = np.zeros(len(videos), np.int64), np.zeros(len(videos), np.int64)
    columns = slice(None) if len(videos) == scores.shape[1] else videos
    for rows, block in _row_blocks(scores, order, starts):
        rivals = block[:, columns]
        if among == "videos":
            inside = starts[(starts >= rows[0]) & (starts <= rows[-1])] - rows[0]
            rivals = np.maximum.reduceat(rivals, inside, axis=0)
        greater += np.count_nonzero(rivals > best, axis=0)
        tied += np.count_nonzero(rivals == best, axis=0)
    own = 1 if among == "videos" else np.bincount(video_query, right == best[video_query]).astype(np.int64)
    return Placement(greater, tied - own)


def _row_blocks(
    scores: np.ndarray, order: np.ndarray, boundaries: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of scores[order] that end at boundaries, as (positions in `order`, block). Refuses non-finite scores."""
    limit = max(1, CHUNK_ELEMENTS // scores.shape[1])
    start = 0
    while start < len(order):
        fitting = boundaries[(boundaries > start) & (boundaries <= start + limit)]
        stop = fitting[-1] if fitting.size else boundaries[boundaries > start][0]
        rows = order[start:stop]
        contiguous = rows[-1] - rows[0] == len(rows) - 1 and np.all(np.diff(rows) == 1)
        block = scores[rows[0] : rows[-1] + 1] if contiguous else scores[rows]
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise UserError(
                f"score of text {rows[row]} and video {column} is {block[row, column]}: every score must be finite, "
                "so find out where it came from"
            )
        yield np.arange(start, stop), block
        start = stop


def with_misses(placement: RetrievalPlacement, texts: int, videos: int) -> RetrievalPlacement:
    """The placement with queries that could not be asked, in the last place: `texts` captions of `videos` lost videos.

    The gallery lacks the lost videos, so the other queries have fewer rivals than they would have had.
    """
    if not texts and not videos:
        return placement

    def appended(side: Placement, last: int, count: int) -> Placement:
        greater = np.concatenate([side.greater, np.full(count, last)])
        return Placement(greater, np.concatenate([side.tied, np.zeros(count, np.int64)]))

    known = int(placement.videos.max()) + 1
    total = len(placement.videos) + videos
    return RetrievalPlacement(
        appended(placement.t2v, total - 1, texts),
        appended(placement.v2t, total - 1, videos),
        np.concatenate([placement.text_video, known + np.arange(texts) % max(videos, 1)]),
        np.concatenate([placement.videos, known + np.arange(videos)]),
    )


def rank_metrics(ranks: np.ndarray) -> Metrics:
    """R@1, R@5, R@10, R@50 in percent, median and mean rank, MRR (100 · mean of 1/rank), and the number of queries.

    ranks: [N], from 1. A query is a hit at K if fewer than K items stand before the right one, that is rank < K + 1; so
    a rank of 1.5 (one tie, rule "mean") is a hit at 1. `queries` is the denominator, the number of ranks.
    """
    recalls = {f"R@{k}": 100.0 * float(np.mean(ranks < k + 1)) for k in RECALL_DEPTHS}
    return recalls | {
        "MdR": float(np.median(ranks)),
        "MnR": float(np.mean(ranks)),
        "MRR": 100.0 * float(np.mean(1.0 / ranks)),
        "queries": len(ranks),
    }


def recall_sum(t2v: Metrics, v2t: Metrics) -> float:
    """Rsum: R@1 + R@5 + R@10 of both directions, at most 600."""
    return float(sum(side[f"R@{k}"] for side in (t2v, v2t) for k in (1, 5, 10)))


def placement_metrics(placement: RetrievalPlacement, ties: str = "mean") -> Metrics:
    """{"t2v": …, "v2t": …, "Rsum": …} by one tie rule. See `rank_metrics`."""
    t2v, v2t = rank_metrics(placement.t2v.ranks(ties)), rank_metrics(placement.v2t.ranks(ties))
    return {"t2v": t2v, "v2t": v2t, "Rsum": recall_sum(t2v, v2t)}


def retrieval_metrics(
    scores: np.ndarray, text_video: np.ndarray | None = None, ties: str = "mean", *, v2t_among: str = "videos"
) -> Metrics:
    """Metrics of a score matrix [Nt, Nv] in both directions. See `place` for the arguments and errors."""
    return placement_metrics(place(scores, text_video, v2t_among=v2t_among), ties)


def metrics_by_tie_rule(placement: RetrievalPlacement) -> dict[str, Metrics]:
    """The metrics by each tie rule, or only by "mean" when there are no ties that could make a difference."""
    rules = TIE_SHARE if placement.t2v.tied.any() or placement.v2t.tied.any() else ("mean",)
    return {rule: placement_metrics(placement, rule) for rule in rules}


def best_items(scores: np.ndarray, count: int) -> np.ndarray:
    """Find the `count` highest of scores [N] → [count] int64, in any order. Of equal ones at the edge the first win."""
    edge = np.partition(scores, -count)[-count]
    above, at_edge = np.flatnonzero(scores > edge), np.flatnonzero(scores == edge)
    return np.concatenate([above, at_edge[: count - len(above)]])
