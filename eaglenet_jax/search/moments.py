"""Moments: the part of each window that the frames' scores single out, and one moment for windows that overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

SHORTEST = 1.0  # seconds of a moment, where its window is longer
# A weight above this part of the mean weight counts.
HEAVY = 0.5
# Of cosines: a frame counts if its cosine is nearer to the window's best than to its worst.
NEAR = 0.5
FLAT = 1e-3  # cosines of a window that differ by less than this single no frame out


@dataclasses.dataclass(frozen=True)
class Moment:
    """A part of a video that matches a query.

    Attributes:
        rank: From 1.
        score: Cosine of the pooled vectors, or the head's similarity where `reranked`; the two are not comparable, and
            reranked moments come before the others.
        reranked: Whether the head rescored it.
        id: Id of the window (the best one of a merged moment).
        path: File of the video.
        start: Seconds.
        end: Seconds.
        thumbnail: JPEG.
        times: Seconds of the frames that the model encoded.
        weights: Weight that the head gave each of them for this query; None without reranking, or for a head without
            frame weights.
        confidence: "strong", "possible" or "weak", see `confidence.Calibration`; None if not asked for.
    """

    rank: int
    score: float
    reranked: bool
    id: str
    path: str
    start: float
    end: float
    thumbnail: bytes = dataclasses.field(repr=False)
    times: tuple[float, ...] = ()
    weights: tuple[float, ...] | None = None
    confidence: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return all fields but the thumbnail, for json.dumps."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "thumbnail"}


def focus(times: Sequence[float], counts: np.ndarray, best: int, start: float, end: float) -> tuple[float, float]:
    """Return start and end in seconds of the run of frames that count around the best one.

    A frame stands from the middle between it and the one before to the middle between it and the next.

    Args:
        times: Seconds of the frames, ascending.
        counts: Whether each of them counts, [frames] bool.
        best: Number of the best frame.
        start: Start of the window in seconds, which the run cannot reach beyond.
        end: End of the window in seconds.
    """
    first = last = best
    while first > 0 and counts[first - 1]:
        first -= 1
    while last + 1 < len(counts) and counts[last + 1]:
        last += 1
    begin = start if first == 0 else (times[first - 1] + times[first]) / 2
    finish = end if last + 1 == len(counts) else (times[last] + times[last + 1]) / 2
    lacking = SHORTEST - (finish - begin)
    if lacking > 0:
        # What the window's edge cuts off one side is added to the other.
        begin = max(start, min(begin - lacking / 2, end - SHORTEST))
        finish = min(end, begin + SHORTEST)
    return float(begin), float(finish)


def by_weights(moment: Moment, start: float, end: float) -> Moment:
    """Return a moment that reaches over the frames that the head looked at; unchanged without weights.

    Args:
        moment: A moment with weights.
        start: Start of its window, seconds.
        end: End of its window, seconds.
    """
    if moment.weights is None or len(moment.times) < 2:
        return moment
    weights = np.asarray(moment.weights)
    counts = weights > HEAVY * weights.mean()
    start, end = focus(moment.times, counts, int(weights.argmax()), start, end)
    return dataclasses.replace(moment, start=start, end=end)


def by_cosines(moment: Moment, cosines: np.ndarray) -> Moment:
    """Return a moment that reaches over the frames nearest to the query; unchanged if all are equally near.

    Args:
        moment: A window.
        cosines: Of the query with its frames, [at least the number of frames].
    """
    if len(moment.times) < 2:
        return moment
    values = np.asarray(cosines[: len(moment.times)], np.float32)
    spread = values.max() - values.min()
    if spread < FLAT:
        return moment
    counts = values > values.min() + NEAR * spread
    start, end = focus(moment.times, counts, int(values.argmax()), moment.start, moment.end)
    return dataclasses.replace(moment, start=start, end=end)


def merge_overlapping(moments: Sequence[Moment]) -> list[Moment]:
    """Merge moments of a video that overlap, so that no second of it is listed twice. Best first in and out.

    A moment takes in the worse ones that overlap it, from the first start to the last end. It does not grow by moments
    that overlap only those, or a long video would become one moment: of such a one what is left beside it is kept if
    it is at least half of it.
    """
    of_video: dict[str, list[Moment]] = {}
    for moment in moments:
        of_video.setdefault(moment.path, []).append(moment)
    merged: list[Moment] = []
    taken: set[str] = set()
    for moment in moments:
        if moment.id in taken:
            continue
        taken.add(moment.id)
        earlier = [other for other in merged if other.path == moment.path]
        own = _beside(moment, earlier)
        if own is None:
            continue
        start, end = own.start, own.end
        for other in of_video[moment.path]:
            if other.id not in taken and other.start < own.end and own.start < other.end:
                taken.add(other.id)
                start, end = min(start, other.start), max(end, other.end)
        start = max([start, *(other.end for other in earlier if other.end <= own.start)])
        end = min([end, *(other.start for other in earlier if other.start >= own.end)])
        merged.append(dataclasses.replace(own, start=start, end=end))
    return merged


def _beside(moment: Moment, others: Sequence[Moment]) -> Moment | None:
    """Return the part of a moment that is outside of the others, None if that is less than half of it."""
    start, end = moment.start, moment.end
    for other in others:
        if other.start < end and start < other.end:
            # What is left before or after, whichever is longer.
            if other.start - start >= end - other.end:
                end = other.start
            else:
                start = other.end
    if end - start < (moment.end - moment.start) / 2 or end <= start:
        return None
    return dataclasses.replace(moment, start=start, end=end)
