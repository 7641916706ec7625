"""Choice of what retrieval.png shows: for some queries their own video, the best others, and the weights of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import best_in_order, check_relevance


@dataclass(frozen=True)
class Clips:
    """Access to what is shown of videos.

    Attributes:
        frames_of: frames_of(v) → real frames of video v in the order of time, [M, H, W, 3] uint8.
        weights_of: weights_of(text, videos) → for each of these videos how much its frames count, [M]; None for a
            system that weighs no frames.
        described: described(text) → which frames of its own video the text describes, [M] bool; None if not known.
    """

    frames_of: Callable[[int], np.ndarray]
    weights_of: Callable[[int, Sequence[int]], Sequence[np.ndarray] | None] = lambda text, videos: None
    described: Callable[[int], np.ndarray | None] = lambda text: None


@dataclass(frozen=True)
class FoundVideo:
    """A video in the answer to a query.

    Attributes:
        frames: [M, H, W, 3] uint8, real frames in the order of time.
        score: Its similarity to the query.
        rank: From 1.
        weights: [M], how much each frame counts for the query, which sum to 1; None for a system that weighs none.
    """

    frames: np.ndarray
    score: float
    rank: int
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class QueryResult:
    """A query.

    Attributes:
        caption: Its text.
        own: The video that belongs to it.
        others: The best other videos, best first.
        videos: Number of videos that were searched.
        described: Which frames of its own video the caption describes, [M] bool; None if not known.
    """

    caption: str
    own: FoundVideo
    others: Sequence[FoundVideo]
    videos: int
    described: np.ndarray | None = None


def query_results(
    scores: np.ndarray,
    captions: Sequence[str],
    clips: Clips,
    *,
    text_video: np.ndarray | None = None,
    queries: int = 5,
    others: int = 3,
) -> list[QueryResult]:
    """Take evenly spaced queries, chosen without looking at the result, with their own video and the best others.

    Args:
        scores: [Nt, Nv].
        captions: Nt texts.
        clips: What is shown of videos; called for shown videos only.
        text_video: [Nt], the video of each text. None: the diagonal.
        queries: How many queries.
        others: How many other videos of each. Equal scores keep the order of the gallery.

    Returns:
        The queries, in the order of their rows.

    Raises:
        UserError: If captions or relevance do not fit the scores.
    """
    text_video = check_relevance(scores.shape, text_video)
    if len(captions) != len(text_video):
        raise UserError(f"{len(captions)} captions for {len(text_video)} rows of scores: give one for each")
    results = []
    for text in np.linspace(0, len(captions) - 1, min(queries, len(captions))).astype(int):
        row, right = scores[text], int(text_video[text])
        ranks = {video: place + 1 for place, video in enumerate(best_in_order(row, others + 1))}
        shown = [right, *(video for video in ranks if video != right)][: others + 1]
        ranks[right] = 1 + int(np.count_nonzero(row > row[right]) + np.count_nonzero(row[:right] == row[right]))
        given = clips.weights_of(int(text), shown)
        weights: Sequence[np.ndarray | None] = [None] * len(shown) if given is None else given
        own, *rest = (
            FoundVideo(clips.frames_of(video), float(row[video]), ranks[video], of_frames)
            for video, of_frames in zip(shown, weights, strict=True)
        )
        results.append(QueryResult(captions[text], own, rest, scores.shape[1], clips.described(int(text))))
    return results
