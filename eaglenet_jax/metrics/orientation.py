"""Signs that a score matrix is not what it is taken for: transposed, distances, or shifted by a row or column."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from eaglenet_jax.metrics.ranks import CHUNK_ELEMENTS, RetrievalPlacement

DEVIATIONS = 4.0  # from chance, in standard deviations


def orientation_warnings(scores: np.ndarray, placement: RetrievalPlacement) -> Iterator[str]:
    """Say where a result is far below chance, or where another reading of the matrix is far better.

    Args:
        scores: [Nt, Nv], finite.
        placement: Of these scores, by one right video a text.

    Returns:
        Sentences with the flag that reads the matrix the other way, or with what to look for.
    """
    texts, videos = scores.shape
    text_video = placement.text_video
    if videos < 2:
        return
    ranks = placement.t2v.ranks()
    middle, deviation = (videos + 1) / 2, math.sqrt((videos**2 - 1) / 12 / len(ranks))
    if ranks.mean() > middle + DEVIATIONS * deviation:
        yield (
            f"the mean rank {ranks.mean():.1f} is far below chance ({middle:.1f}): if these are distances, where lower "
            f"is better, add --distances, which gives {videos + 1 - ranks.mean():.1f}"
        )
        return
    row_best, column_best = _best(scores)
    rows = np.arange(texts)
    here = float(np.mean(scores[rows, text_video] >= row_best))

    def far_better(hits: float, than: float) -> bool:
        chance = 1 / videos
        return hits > than and hits - chance > DEVIATIONS * math.sqrt(chance * (1 - chance) / texts)

    if texts == videos and not np.array_equal(text_video, rows):
        turned = float(np.mean(scores[text_video, rows] >= column_best))
        if far_better(turned, 2 * here):
            yield (
                f"transposed, R@1 would be {100 * turned:.1f} instead of {100 * here:.1f}: if the matrix is videos × "
                "texts, add --transpose"
            )
    for step in (1, -1):
        moved = text_video + step
        inside = (moved >= 0) & (moved < videos)
        beaten = scores[rows, text_video] < row_best
        hits = float(np.mean(inside & beaten & (scores[rows, np.clip(moved, 0, videos - 1)] >= row_best)))
        if far_better(hits, here / 2):
            side = "after" if step == 1 else "before"
            yield (
                f"{100 * hits:.1f} % of the texts find the video one column {side} their own first, {100 * here:.1f} % "
                "their own: is a row or column missing, or there twice, or was a header read as scores?"
            )


def _best(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest score of each row and of each column."""
    rows, column = np.empty(len(scores), scores.dtype), None
    step = max(1, CHUNK_ELEMENTS // scores.shape[1])
    for start in range(0, len(scores), step):
        block = np.asarray(scores[start : start + step])
        rows[start : start + step] = block.max(axis=1)
        best = block.max(axis=0)
        column = best if column is None else np.maximum(column, best)
    return rows, np.asarray(column)
