"""Signs that a score matrix is not what it is taken for: transposed, distances, shifted, ids in another order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eaglenet_jax.metrics.ranks import CHUNK_ELEMENTS, RetrievalPlacement

DEVIATIONS = 4.0  # from chance, in standard deviations
NEAR_CHANCE = 2.0  # standard deviations within which a mean rank is called no better than chance
FEW = 20  # texts, fewer of which say nothing


@dataclass(frozen=True)
class Reading:
    """How scores were read.

    Attributes:
        text_ids: Ids of the rows, None where there are none.
        video_ids: Ids of the columns, None where there are none.
        single: Whether each text has one right video.
    """

    text_ids: Sequence[Any] | None = None
    video_ids: Sequence[Any] | None = None
    single: bool = True


def orientation_warnings(
    scores: np.ndarray, placement: RetrievalPlacement, chance_rank: float, reading: Reading = Reading()
) -> Iterator[str]:
    """Say where a result is not above chance, or where another reading of the matrix is far better.

    Args:
        scores: [Nt, Nv], finite.
        placement: Of these scores; its `text_video` is one right video of each text.
        chance_rank: Mean rank of random scores, text → video.
        reading: What is known of rows and columns.

    Returns:
        Sentences with the flag that reads the matrix the other way, or with what to look for.
    """
    texts, videos = scores.shape
    text_video = placement.text_video
    if videos < 2:
        return
    ranks = placement.t2v.ranks()
    deviation = math.sqrt((videos**2 - 1) / 12 / len(ranks))
    if ranks.mean() > chance_rank + DEVIATIONS * deviation:
        gives = f", which gives {videos + 1 - ranks.mean():.1f}" if reading.single else ""
        yield (
            f"the mean rank {ranks.mean():.1f} is far below chance ({chance_rank:.1f}): if these are distances, where "
            f"lower is better, add --distances{gives}"
        )
        return
    tops = _tops(scores)
    rows = np.arange(texts)
    found = (scores[rows, text_video] >= tops.row_scores) * tops.row_shares
    here = 100 * float(np.mean(found))
    said = False
    if texts == videos and not np.array_equal(text_video, rows):
        turned = (scores[text_video, rows] >= tops.column_scores) * tops.column_shares
        if _far_better(float(np.mean(turned)), here / 50, texts, videos):
            said = True
            yield (
                f"transposed, R@1 would be {100 * np.mean(turned):.1f} instead of {here:.1f}: if the matrix is "
                "videos × texts, add --transpose"
            )
    for step in (1, -1):
        moved = text_video + step
        inside = (moved >= 0) & (moved < videos)
        best = scores[rows, np.clip(moved, 0, videos - 1)] >= tops.row_scores
        hits = (inside & (found == 0) & best) * tops.row_shares
        if _far_better(float(np.mean(hits)), here / 200, texts, videos):
            said = True
            side = "after" if step == 1 else "before"
            yield (
                f"{100 * np.mean(hits):.1f} % of the texts find the video one column {side} their own first, "
                f"{here:.1f} % their own: is a row or column missing, or there twice, or was a header read as scores?"
            )
    if said:
        return
    for words, other in _other_orders(text_video, videos, reading):
        differ = other != text_video
        hits = (scores[rows, other] >= tops.row_scores) * tops.row_shares
        # Only where the two readings differ, or a shift by one of many captions of a video would not show.
        if differ.any() and _far_better(
            float(np.mean(hits[differ])), 2 * float(np.mean(found[differ])), int(differ.sum()), videos
        ):
            yield f"{words}, R@1 would be {100 * np.mean(hits):.1f} instead of {here:.1f}"
            return
    if texts >= FEW and ranks.mean() > chance_rank - NEAR_CHANCE * deviation:
        agreed = _agreement(text_video, tops.columns, videos)
        yield (
            f"the mean rank {ranks.mean():.1f} is no better than chance ({chance_rank:.1f})"
            + (f", although captions of one video agree on another column: {agreed}" if agreed else "")
            + ": are rows and columns in the order of the ids or captions that say what is right, and of this split?"
        )


def constant_row_warnings(scores: np.ndarray) -> Iterator[str]:
    """Say which texts have one score with all videos, as rows have that only fill up a matrix.

    Args:
        scores: [Nt, Nv], finite.

    Returns:
        At most one sentence.
    """
    texts, videos = scores.shape
    step = max(1, CHUNK_ELEMENTS // videos)
    blocks = (np.asarray(scores[start : start + step]) for start in range(0, texts, step))
    rows = np.flatnonzero(np.concatenate([(block == block[:, :1]).all(axis=1) for block in blocks]))
    if videos == 1 or not rows.size:
        return
    every = rows.size == texts
    yield (
        f"{rows.size} of {texts} texts have one score with all videos (text {rows[0]}: {scores[rows[0], 0]:g}): "
        + ("they tell no video from another" if every else "if these rows are padding, add --padded")
    )


@dataclass(frozen=True)
class _Tops:
    """Highest scores of a matrix. columns: of each row, where it stands.

    shares: 1 / the number of entries that have it. An entry among k equal ones counts as 1/k, what breaking the tie at
    random gives, or scores of few values, where most entries of a row are its highest, would fit any reading.
    """

    row_scores: np.ndarray
    row_shares: np.ndarray
    columns: np.ndarray
    column_scores: np.ndarray
    column_shares: np.ndarray


def _far_better(hits: float, than: float, count: int, videos: int) -> bool:
    """Whether a share of `count` texts is above another share, and far above chance."""
    chance = 1 / videos
    return hits > than and hits - chance > DEVIATIONS * math.sqrt(chance * (1 - chance) / count)


def _other_orders(text_video: np.ndarray, videos: int, reading: Reading) -> Iterator[tuple[str, np.ndarray]]:
    """Readings with rows or columns in another order: (what it is, the video of each text)."""
    counts = np.bincount(text_video, minlength=videos)
    named, first = np.unique(text_video, return_index=True)
    place = np.arange(videos)
    place[named] = np.argsort(np.argsort(first))
    yield "with the columns in the order in which the rows name their videos", place[text_video]
    yield "with the rows in the order of the columns", np.repeat(np.arange(videos), counts)
    if np.any(text_video[1:] == text_video[:-1]):
        if np.all(counts == counts[0]):
            first_then_second = np.arange(len(text_video)) % videos
            yield "with the first captions of all videos before the second ones", first_then_second
        for step, side in ((1, "later"), (-1, "earlier")):
            yield (
                f"with each text one row {side}, as where a row is missing or a header is one",
                np.roll(text_video, step),
            )
    for words, order in _sorted_orders(reading.video_ids, videos):
        yield f"with the columns sorted by id{words}", np.argsort(order)[text_video]
    for words, order in _sorted_orders(reading.text_ids, len(text_video)):
        yield f"with the rows sorted by id{words}", text_video[order]


def _sorted_orders(ids: Sequence[Any] | None, count: int) -> Iterator[tuple[str, np.ndarray]]:
    names = [str(name) for name in ids or ()]
    if len(names) == count:
        yield "", np.array(sorted(range(count), key=names.__getitem__))
        yield ", by the numbers in it", np.array(sorted(range(count), key=lambda i: _by_numbers(names[i])))


def _by_numbers(name: str) -> list[Any]:
    """A key that sorts video9 before video10."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _agreement(text_video: np.ndarray, columns: np.ndarray, videos: int) -> str:
    """How often two captions of a video have the same best column, where that is far more often than by chance."""
    popular = np.bincount(columns, minlength=videos) / len(columns)
    chance = float(np.sum(popular**2))
    pairs = agreeing = 0
    order = np.argsort(text_video, kind="stable")
    for group in np.split(columns[order], np.flatnonzero(np.diff(text_video[order])) + 1):
        pairs += len(group) * (len(group) - 1) // 2
        same = np.unique(group, return_counts=True)[1]
        agreeing += int(np.sum(same * (same - 1) // 2))
    share = agreeing / max(pairs, 1)
    independent = len(columns) - len(np.unique(text_video))
    if not independent or share - chance <= DEVIATIONS * math.sqrt(chance * (1 - chance) / independent):
        return ""
    return f"{100 * share:.0f} % of their pairs, {100 * chance:.0f} % by chance"


def _tops(scores: np.ndarray) -> _Tops:
    texts, videos = scores.shape
    rows, row_ties, columns = np.empty(texts, scores.dtype), np.empty(texts), np.empty(texts, np.int64)
    best = scores.max(axis=0)
    column_ties = np.zeros(videos)
    step = max(1, CHUNK_ELEMENTS // videos)
    for start in range(0, texts, step):
        block = np.asarray(scores[start : start + step])
        part = slice(start, start + len(block))
        columns[part] = block.argmax(axis=1)
        rows[part] = block.max(axis=1)
        row_ties[part] = (block == rows[part, None]).sum(axis=1)
        column_ties += (block == best).sum(axis=0)
    return _Tops(rows, 1 / row_ties, columns, best, 1 / column_ties)
