"""What a head says of a text–video pair, for a page: weights of frames and text candidates, and the energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.reports.pictures import data_uri

Explain = Callable[[int, Sequence[int]], Sequence["Explained"]]


@dataclass(frozen=True)
class WeightedFrame:
    """A frame as a data URI with its weight, and that weight as a share of the video's largest."""

    picture: str
    weight: float
    share: float


@dataclass(frozen=True)
class Explained:
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
) -> Explain | None:
    """explain(text, videos) → `Explained` of each of these pairs; None for a head that has nothing to say.

    texts [Nt, ...], videos [Nv, ...]: features of a split. draws: of the evaluation, so that the candidates are those
    that were scored. frames_of(v): real frames of a video, [M, H, W, 3], in the order of its features.
    """

    def rows(features: Any, chosen: Sequence[int]) -> Any:
        return jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], features)

    @jax.jit
    def explained(text: TextFeatures, video: VideoFeatures) -> Mapping[str, Any]:
        said: Any = head.apply({"params": params}, text, video, draws, method="explain")
        return said

    if not jax.eval_shape(explained, rows(texts, [0]), rows(videos, [0])):
        return None

    def explain(text: int, chosen: Sequence[int]) -> Sequence[Explained]:
        # One video at a time: a single compilation, whatever the number of videos.
        return [
            _pair(jax.device_get(explained(rows(texts, [text]), rows(videos, [video]))), videos, video, frames_of)
            for video in chosen
        ]

    return explain


def _pair(
    said: Mapping[str, np.ndarray], videos: VideoFeatures, video: int, frames_of: Callable[[int], np.ndarray]
) -> Explained:
    frames: list[WeightedFrame] = []
    if "frame_weights" in said:
        weights = np.asarray(said["frame_weights"][0, 0], float)[np.asarray(videos.mask[video])]
        frames = [
            WeightedFrame(data_uri(frame), weight, share)
            for frame, (weight, share) in zip(frames_of(video), _shares(weights), strict=True)
        ]
    candidates = _shares(np.asarray(said["candidate_weights"][0, 0], float)) if "candidate_weights" in said else []
    return Explained(frames, candidates, float(said["energy"][0, 0]) if "energy" in said else None)


def _shares(weights: np.ndarray) -> list[tuple[float, float]]:
    largest = float(weights.max()) or 1.0
    return [(float(weight), float(weight) / largest) for weight in weights]
