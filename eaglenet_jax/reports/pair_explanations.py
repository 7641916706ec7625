"""Explanations of text–video pairs for a score page: weights of frames and text candidates, and the energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.reports.frame_thumbnails import data_uri

Explain = Callable[[int, Sequence[int]], Sequence["PairExplanation"]]


@dataclass(frozen=True)
class WeightedFrame:
    """A frame as a data URI with its weight, and that weight as a share of the video's largest.

    described: whether the text is known to describe this part of the video.
    """

    picture: str
    weight: float
    share: float
    described: bool = False


@dataclass(frozen=True)
class PairExplanation:
    """One pair. candidates: (weight, share of the largest) of the text itself, then of its candidates."""

    frames: Sequence[WeightedFrame]
    candidates: Sequence[tuple[float, float]]
    energy: float | None


def explainer(
    head: Head,
    params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    draws: Draws,
    frames_of: Callable[[int], np.ndarray],
    described: Callable[[int, int], np.ndarray | None] = lambda text, video: None,
) -> Explain | None:
    """Make the function that explains pairs of a split by `Head.explain`.

    Args:
        head: Of the system.
        params: Of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        draws: Of the evaluation, so that the candidates are those that were scored.
        frames_of: frames_of(v) → real frames of a video, [M, H, W, 3], in the order of its features.
        described: described(text, video) → which of these frames the text is known to describe, [M] bool; None where
            that is not known, as everywhere by default.

    Returns:
        explain(text, videos) → a `PairExplanation` of each of these pairs; None for a head that explains nothing.
    """

    def rows(features: Any, chosen: Sequence[int]) -> Any:
        return jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], features)

    @jax.jit
    def explained(text: TextFeatures, video: VideoFeatures) -> Mapping[str, Any]:
        explanation: Any = head.apply({"params": params}, text, video, draws, method="explain")
        return explanation

    if not jax.eval_shape(explained, rows(texts, [0]), rows(videos, [0])):
        return None

    def explain(text: int, chosen: Sequence[int]) -> Sequence[PairExplanation]:
        # One video at a time: a single compilation, whatever the number of videos.
        return [
            _pair(
                jax.device_get(explained(rows(texts, [text]), rows(videos, [video]))),
                np.asarray(videos.mask[video]),
                frames_of(video),
                described(text, video),
            )
            for video in chosen
        ]

    return explain


def _pair(
    aux: Mapping[str, np.ndarray], mask: np.ndarray, pictures: np.ndarray, described: np.ndarray | None
) -> PairExplanation:
    frames: list[WeightedFrame] = []
    if "frame_weights" in aux:
        weights = np.asarray(aux["frame_weights"][0, 0], float)[mask]
        inside = np.zeros(len(weights), bool) if described is None else described
        frames = [
            WeightedFrame(data_uri(frame), weight, share, bool(here))
            for frame, (weight, share), here in zip(pictures, _shares(weights), inside, strict=True)
        ]
    candidates = _shares(np.asarray(aux["candidate_weights"][0, 0], float)) if "candidate_weights" in aux else []
    return PairExplanation(frames, candidates, float(aux["energy"][0, 0]) if "energy" in aux else None)


def _shares(weights: np.ndarray) -> list[tuple[float, float]]:
    largest = float(weights.max()) or 1.0
    return [(float(weight), float(weight) / largest) for weight in weights]
