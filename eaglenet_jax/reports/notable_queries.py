"""Single queries of a score page: some of all, the hardest, those that moved between two runs, repeated captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eaglenet_jax.metrics.ranks import best_in_order
from eaglenet_jax.reports.frame_thumbnails import strip
from eaglenet_jax.wording import caption_key

BEST_VIDEOS = 4  # of a query
BEST_CAPTIONS = 3  # of a video


@dataclass(frozen=True)
class Gallery:
    """The rows and columns of scores [Nt, Nv].

    Attributes:
        captions: Nt texts, or names of rows if not `captioned`.
        videos: Nv names.
        frames_of: frames_of(v) → real frames of a video, [M, H, W, 3] uint8. None: there are no frames.
        explain: explain(text, videos) → for each of these pairs what the head shows of it (`PairExplanation`). None:
            nothing.
        captioned: Whether `captions` are captions.
        radii: |R|₁ of pairs that belong together and of pairs that do not; None for a head without stochastic texts.
    """

    captions: Sequence[str]
    videos: Sequence[str]
    frames_of: Callable[[int], np.ndarray] | None = None
    explain: Callable[[int, Sequence[int]], Sequence[Any]] | None = None
    captioned: bool = True
    radii: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def numbered(cls, shape: tuple[int, int], captions: Sequence[str] | None, videos: Sequence[str] | None) -> Gallery:
        """Name rows and columns of scores of a shape by their numbers where no captions or names are given."""
        return cls(
            [f"text {row}" for row in range(shape[0])] if captions is None else captions,
            [f"video {column}" for column in range(shape[1])] if videos is None else videos,
            captioned=captions is not None,
        )


@dataclass(frozen=True)
class FoundVideo:
    """A video in the answer to a query. frames: data URIs, empty without frames. explained: `PairExplanation`."""

    name: str
    score: float
    rank: str
    right: bool
    frames: Sequence[str] = ()
    explained: Any = None


@dataclass(frozen=True)
class Query:
    """A caption, the rank of its own video, and the videos found. other: the same query in the other run."""

    caption: str
    rank: str
    found: Sequence[FoundVideo] = field(default_factory=tuple)
    other: Query | None = None


@dataclass(frozen=True)
class FoundCaption:
    """A caption in the answer to a video."""

    caption: str
    score: float
    right: bool


@dataclass(frozen=True)
class VideoQuery:
    """A video, the rank of its own caption, and the captions found. other: the same video in the other run."""

    name: str
    rank: str
    found: Sequence[FoundCaption]
    frames: Sequence[str] = ()
    other: VideoQuery | None = None


@dataclass(frozen=True)
class Duplicate:
    """One caption of several videos, with the rank of each."""

    caption: str
    videos: Sequence[tuple[str, str]]


def rank_name(rank: float) -> str:
    """Format a rank: 1, 2, … or 1.5 where the right item ties."""
    return f"{rank:g}"


def answered(
    rows: Sequence[int],
    scores: np.ndarray,
    right_videos: Callable[[int], Sequence[int]],
    ranks: np.ndarray,
    gallery: Gallery,
) -> list[Query]:
    """List queries with their `BEST_VIDEOS` best videos and, where none is right, the right one that stands first.

    Args:
        rows: Of `scores`.
        scores: [Nt, Nv].
        right_videos: right_videos(text) → its right videos, at least one.
        ranks: [Nt], of the first of the right videos.
        gallery: Names, frames and explanations.

    Returns:
        One query for each of `rows`.
    """
    queries = []
    for text in rows:
        row, right = np.asarray(scores[text]), right_videos(text)
        first = right[int(np.argmax(row[list(right)]))]
        top = best_in_order(row, BEST_VIDEOS)
        shown = [*top, *([] if set(right) & set(top) else [first])]
        explanations = gallery.explain(text, shown) if gallery.explain else [None] * len(shown)
        found = [
            FoundVideo(
                str(gallery.videos[video]),
                float(row[video]),
                rank_name(ranks[text]) if video == first else str(place + 1),
                video in right,
                strip(gallery.frames_of(video)) if gallery.frames_of and not explained else (),
                explained,
            )
            for place, (video, explained) in enumerate(zip(shown, explanations, strict=True))
        ]
        queries.append(Query(gallery.captions[text], rank_name(ranks[text]), found))
    return queries


def captions_found(
    videos: Mapping[int, float],
    scores: np.ndarray,
    right_texts: Callable[[int], Sequence[int]],
    gallery: Gallery,
) -> list[VideoQuery]:
    """List videos with their `BEST_CAPTIONS` best captions and, where none is right, the right one that stands first.

    Args:
        videos: Columns of `scores`, each with the rank of its first right caption.
        scores: [Nt, Nv], those that rank texts for a video.
        right_texts: right_texts(video) → its right texts, at least one.
        gallery: Names and frames.

    Returns:
        One query for each of `videos`.
    """
    queries = []
    for video, rank in videos.items():
        column, right = np.asarray(scores[:, video]), list(right_texts(video))
        top = best_in_order(column, BEST_CAPTIONS)
        shown = [*top, *([] if set(right) & set(top) else [right[int(np.argmax(column[right]))]])]
        found = [FoundCaption(gallery.captions[text], float(column[text]), text in right) for text in shown]
        frames = strip(gallery.frames_of(video)) if gallery.frames_of else ()
        queries.append(VideoQuery(str(gallery.videos[video]), rank_name(rank), found, frames))
    return queries


def spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` rows, evenly spaced, without looking at the result."""
    return [int(row) for row in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def hardest(ranks: np.ndarray, most: int) -> list[int]:
    """Choose at most `most` rows with the highest ranks, highest first, and none of rank 1."""
    order = np.argsort(-ranks, kind="stable")[:most]
    return [int(row) for row in order if ranks[row] >= 2]


def moved_most(ranks: np.ndarray, before: np.ndarray, most: int) -> tuple[list[int], list[int]]:
    """Choose the rows that gained most and those that lost most between two runs, by the logarithm of the rank.

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
    """Find captions that several videos have, ignoring case and spaces, the most frequent first.

    Each comes with its videos and the best rank of each of them.
    """
    rows = defaultdict(list)
    for row, caption in enumerate(captions):
        rows[caption_key(caption)].append(row)
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
