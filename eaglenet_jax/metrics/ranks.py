"""Ranks and retrieval metrics of a score matrix, in NumPy.

Rows are texts, columns are videos, higher is better. `text_video[i]` is the column of text i's video; several texts may
share a video. Ranks are counted chunk by chunk (how many items score higher, how many tie), never by sorting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from eaglenet_jax.errors import UserError

TIE_SHARE = {"optimistic": 0.0, "mean": 0.5, "pessimistic": 1.0}
TIE_RULES = (*TIE_SHARE, "released")
RECALL_DEPTHS = (1, 5, 10, 50)
SUMMED_RECALLS = ("R@1", "R@5", "R@10")
CHUNK_ELEMENTS = 1 << 22  # scores looked at together, 16 MiB in float32

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Placement:
    """The place of each query's right item among the items of the gallery.

    Attributes:
        greater: [N] int64, how many other items score higher.
        tied: [N] int64, how many other items have the same score.
    """

    greater: np.ndarray
    tied: np.ndarray

    def ranks(self, ties: str = "mean") -> np.ndarray:
        """Compute ranks from 1 by a tie rule.

        Args:
            ties: 1 + greater + none of the ties ("optimistic"), half of them ("mean") or all ("pessimistic").
                "released" looks for the right score in the sorted row, as the released programs do, and so counts a
                query once for every item that has this score.

        Returns:
            [N] float64; for "released" [N + ties], the ranks of one query next to each other.

        Raises:
            UserError: If the rule is unknown.
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
    """The places of both directions of a score matrix.

    Attributes:
        t2v: One query for each text.
        v2t: One query for each video that has a caption.
        text_video: [Nt], the video of each text query.
        videos: [Nq], the column of each video query, ascending.
    """

    t2v: Placement
    v2t: Placement
    text_video: np.ndarray
    videos: np.ndarray


@dataclass(frozen=True)
class Relevance:
    """All pairs of a text with a right video, where a text can have several.

    Attributes:
        rows: [P] int64, the text of each pair, ascending.
        columns: [P] int64, its video.
        grades: [P] float64 above 0, how right it is.
        text_video: [Nt] int64, the video that each text counts to where videos are drawn or grouped.
    """

    rows: np.ndarray
    columns: np.ndarray
    grades: np.ndarray
    text_video: np.ndarray


class RetrievalScores(NamedTuple):
    """Scores of a gallery, and which text belongs to which video.

    Attributes:
        scores: [Nt, Nv], texts × videos, higher is better.
        text_video: [Nt] integers, the column of each text's video. None: unknown, or the diagonal.
        v2t_scores: [Nt, Nv] to rank texts by for each video, where a system that reranks has other scores there. None:
            the same scores.
        relevance: All right pairs, where a text can have several right videos. None: one each, `text_video`.
    """

    scores: np.ndarray
    text_video: np.ndarray | None = None
    v2t_scores: np.ndarray | None = None
    relevance: Relevance | None = None


def check_relevance(shape: tuple[int, ...], text_video: np.ndarray | None) -> np.ndarray:
    """Check the video of each text against the shape of the scores.

    Args:
        shape: Of the scores, (Nt, Nv).
        text_video: [Nt] integers. None: the diagonal of square scores.

    Returns:
        [Nt] int64.

    Raises:
        UserError: If the scores are not a non-empty matrix, are not square without `text_video`, or do not fit it.
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
    """Place the right item of every query, in both directions.

    Text→video places the one right video among all videos. Video→text places the video's best caption; a video without
    a caption is no query there, but stays in the gallery of the texts. Memory: one chunk of scores, at least one
    video's captions.

    Args:
        scores: [Nt, Nv], finite real numbers.
        text_video: [Nt] integers, the video of each text. None: the diagonal.
        v2t_among: What a video's best caption is placed among: "videos", the best captions of the other videos, as the
            released programs count, or "captions", every caption of the other videos. With one caption a video both are
            the same; R@1 is always the same.
        v2t_scores: [Nt, Nv] to rank texts by, where they are not `scores`.

    Returns:
        The places of both directions.

    Raises:
        UserError: If a score is not a finite real number, or if the relevance or a shape does not fit.
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
    """Blocks of scores[order] that end at boundaries, as (positions in `order`, block).

    Raises UserError on scores that are not finite.
    """
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


def with_misses(
    placement: RetrievalPlacement,
    shape: tuple[int, ...],
    missing: tuple[int, int],
    v2t_among: str = "videos",
) -> RetrievalPlacement:
    """Add queries of lost videos, each in the last place of the whole gallery.

    That place is, for a lost caption, the number of videos, scored and lost, captioned or not. For a lost video it is
    the number of captioned videos, scored and lost; among captions it stands behind all captions of the other videos.
    The gallery that was scored lacks the lost videos, so the other queries have fewer rivals than they would have had.

    Args:
        placement: Of the queries that were scored.
        shape: Of the scores, (Nt, Nv).
        missing: How many captions are lost, and how many videos they belonged to.
        v2t_among: As of `place`.

    Returns:
        The placement of all queries; the lost ones come last.
    """
    texts, videos = missing
    if not texts and not videos:
        return placement
    owners = np.arange(texts) % max(videos, 1)  # only the count of captions is known, not whose they are
    rivals = np.full(videos, len(placement.videos) + videos - 1)
    if v2t_among == "captions":
        rivals = shape[0] + texts - np.bincount(owners, minlength=videos)[:videos]

    def appended(side: Placement, last: np.ndarray) -> Placement:
        return Placement(np.concatenate([side.greater, last]), np.concatenate([side.tied, np.zeros_like(last)]))

    known = shape[1]
    return RetrievalPlacement(
        appended(placement.t2v, np.full(texts, shape[1] + videos - 1)),
        appended(placement.v2t, rivals),
        np.concatenate([placement.text_video, known + owners]),
        np.concatenate([placement.videos, known + np.arange(videos)]),
    )


def rank_metrics(ranks: np.ndarray) -> Metrics:
    """Compute retrieval metrics of the ranks of one direction.

    Args:
        ranks: [N], from 1.

    Returns:
        "R@1", "R@5", "R@10" and "R@50" in percent, "Rsum" (R@1 + R@5 + R@10, at most 300), "MdR" and "MnR" (median and
        mean rank), "MRR" (100 · mean of 1/rank) and "queries" (N, the denominator). A query is a hit at K if fewer than
        K items stand before the right one, that is rank < K + 1; so a rank of 1.5 (one tie, rule "mean") is a hit at 1.
    """
    recalls = {f"R@{k}": 100.0 * float(np.mean(ranks < k + 1)) for k in RECALL_DEPTHS}
    return recalls | {
        "Rsum": direction_sum(recalls),
        "MdR": float(np.median(ranks)),
        "MnR": float(np.mean(ranks)),
        "MRR": 100.0 * float(np.mean(1.0 / ranks)),
        "queries": len(ranks),
    }


def direction_sum(side: Mapping[str, float]) -> float:
    """Compute Rsum of one direction, R@1 + R@5 + R@10, at most 300."""
    return float(sum(side[name] for name in SUMMED_RECALLS))


def recall_sum(t2v: Metrics, v2t: Metrics) -> float:
    """Compute Rsum of both directions, at most 600."""
    return direction_sum(t2v) + direction_sum(v2t)


def placement_metrics(placement: RetrievalPlacement, ties: str = "mean") -> Metrics:
    """Compute {"t2v": …, "v2t": …, "Rsum": …} by one tie rule. See `rank_metrics`."""
    t2v, v2t = rank_metrics(placement.t2v.ranks(ties)), rank_metrics(placement.v2t.ranks(ties))
    return {"t2v": t2v, "v2t": v2t, "Rsum": recall_sum(t2v, v2t)}


def retrieval_metrics(
    scores: np.ndarray, text_video: np.ndarray | None = None, ties: str = "mean", *, v2t_among: str = "videos"
) -> Metrics:
    """Compute retrieval metrics of a score matrix in both directions.

    Args:
        scores: [Nt, Nv], texts × videos, higher is better.
        text_video: [Nt] integers, the column of each text's video; several texts may share one. None: the diagonal of
            square scores.
        ties: Tie rule: "mean", "optimistic", "pessimistic", or "released" as the released programs count
            (`Placement.ranks`).
        v2t_among: What a video's best caption is placed among, "videos" or "captions" (`place`).

    Returns:
        {"t2v": metrics, "v2t": metrics, "Rsum": number}; the metrics are those of `rank_metrics`.

    Raises:
        UserError: If a score is not a finite real number, or if the relevance or an option does not fit.
    """
    return placement_metrics(place(scores, text_video, v2t_among=v2t_among), ties)


def metrics_by_tie_rule(placement: RetrievalPlacement) -> dict[str, Metrics]:
    """Compute the metrics by each tie rule, or only by "mean" where no right item ties."""
    rules = TIE_SHARE if placement.t2v.tied.any() or placement.v2t.tied.any() else ("mean",)
    return {rule: placement_metrics(placement, rule) for rule in rules}


def chance_metrics(shape: tuple[int, int], text_video: np.ndarray | None = None) -> Metrics:
    """Compute the expected metrics of random scores.

    Text→video: the right video is equally likely at each of Nv places. Video→text: among the best captions of the
    videos one with more captions stands higher, but over all videos every place is taken equally often.

    Args:
        shape: Of the scores, (Nt, Nv).
        text_video: [Nt], the video of each text. None: the diagonal.

    Returns:
        As `retrieval_metrics`.
    """
    captioned = len(np.unique(check_relevance(shape, text_video)))
    t2v, v2t = _uniform_rank(shape[1], queries=shape[0]), _uniform_rank(captioned, queries=captioned)
    return {"t2v": t2v, "v2t": v2t, "Rsum": recall_sum(t2v, v2t)}


def _uniform_rank(gallery: int, queries: int) -> Metrics:
    middle = (gallery + 1) / 2
    recalls = {f"R@{k}": 100.0 * min(k, gallery) / gallery for k in RECALL_DEPTHS}
    reciprocal = float(np.mean(1.0 / np.arange(1, gallery + 1)))
    return recalls | {
        "Rsum": direction_sum(recalls),
        "MdR": middle,
        "MnR": middle,
        "MRR": 100.0 * reciprocal,
        "queries": queries,
    }


def best_items(scores: np.ndarray, count: int) -> np.ndarray:
    """Find the `count` highest of scores [N] → [count] int64, in any order. Of equal ones at the edge the first win."""
    edge = np.partition(scores, -count)[-count]
    above, at_edge = np.flatnonzero(scores > edge), np.flatnonzero(scores == edge)
    return np.concatenate([above, at_edge[: count - len(above)]])


def best_in_order(scores: np.ndarray, count: int) -> list[int]:
    """List the `count` highest of scores [N], best first, equal ones in their order. All of them if there are fewer."""
    best = best_items(scores, min(count, len(scores)))
    return [int(item) for item in best[np.lexsort((best, -scores[best]))]]
