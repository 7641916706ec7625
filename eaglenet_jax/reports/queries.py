"""What a report shows of single queries: the hardest, those that moved between two runs, captions that occur twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eaglenet_jax.metrics.ranks import best_items
from eaglenet_jax.reports.pictures import strip

FramesOf = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class FoundVideo:
    """A video in the answer to a query. frames: data URIs, none where there are no frames to show."""

    name: str
    score: float
    rank: str
    right: bool
    frames: Sequence[str] = ()
    explained: Any = None


@dataclass(frozen=True)
class Query:
    """A caption with the rank of its own video, and what came out on top. before: its rank in the other run."""

    caption: str
    rank: str
    found: Sequence[FoundVideo] = field(default_factory=tuple)
    before: str = ""


@dataclass(frozen=True)
class Duplicate:
    """One caption of several videos, with the rank of each."""

    caption: str
    videos: Sequence[tuple[str, str]]


def rank_name(rank: float) -> str:
    """1, 2, … or 1.5 where the right item ties."""
    return f"{rank:g}"


def answered(
    rows: Sequence[int],
    scores: np.ndarray,
    text_video: np.ndarray,
    ranks: np.ndarray,
    captions: Sequence[str],
    video_names: Sequence[str],
    frames_of: FramesOf | None = None,
    best: int = 4,
    explain: Callable[[int, Sequence[int]], Sequence[Any]] | None = None,
) -> list[Query]:
    """Some queries with their `best` videos and, where it is not among them, the right one.

    rows: of scores [Nt, Nv]. ranks: [Nt], of the right video. frames_of(v): real frames of a video, [M, H, W, 3].
    explain(text, videos): what a head says of each of these pairs.
    """
    queries = []
    for text in rows:
        row, right = np.asarray(scores[text]), int(text_video[text])
        best_ones = best_items(row, min(best, len(row)))
        top = [int(video) for video in best_ones[np.lexsort((best_ones, -row[best_ones]))]]
        shown = [*top, *([] if right in top else [right])]
        said = explain(text, shown) if explain else [None] * len(shown)
        found = [
            FoundVideo(
                str(video_names[video]),
                float(row[video]),
                rank_name(ranks[text]) if video == right else str(place + 1),
                video == right,
                strip(frames_of(video)) if frames_of and not explained else (),
                explained,
            )
            for place, (video, explained) in enumerate(zip(shown, said, strict=True))
        ]
        queries.append(Query(captions[text], rank_name(ranks[text]), found))
    return queries


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` rows, evenly spaced, chosen without looking at the result."""
    return [int(row) for row in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def hardest(ranks: np.ndarray, most: int) -> list[int]:
    """The rows with the highest ranks, highest first; none that is right at once."""
    order = np.argsort(-ranks, kind="stable")[:most]
    return [int(row) for row in order if ranks[row] >= 2]


def moved_most(ranks: np.ndarray, before: np.ndarray, most: int) -> tuple[list[int], list[int]]:
    """Rows that gained most and rows that lost most between two runs, by the logarithm of the rank.

    From 40 to 4 is as far as from 10 to 1: at the top a rank matters more.
    """
    change = np.log(ranks) - np.log(before)
    order = np.argsort(change, kind="stable")
    gained = [int(row) for row in order[:most] if change[row] < 0]
    lost = [int(row) for row in order[::-1][:most] if change[row] > 0]
    return gained, lost


def duplicates(
    captions: Sequence[str], text_video: np.ndarray, ranks: np.ndarray, video_names: Sequence[str]
) -> list[Duplicate]:
    """Captions that several videos have, capitals and spaces aside, with the best rank of each video; the most frequent
    first.
    """
    rows = defaultdict(list)
    for row, caption in enumerate(captions):
        rows[" ".join(caption.casefold().split())].append(row)
    found = []
    for same in rows.values():
        best: dict[int, float] = {}
        for row in same:
            video = int(text_video[row])
            best[video] = min(best.get(video, np.inf), float(ranks[row]))
        if len(best) > 1:
            videos = [(str(video_names[video]), rank_name(rank)) for video, rank in best.items()]
            found.append(Duplicate(captions[same[0]], videos))
    return sorted(found, key=lambda each: len(each.videos), reverse=True)
