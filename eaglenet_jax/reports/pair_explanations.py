"""Explanations of text–video pairs for a score page: weights of frames and text candidates, and the energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.reports.attended_pictures import WordPictures, Words, attended_pictures, word_pictures
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
    """One pair. candidates: (weight, share of the largest) of the text itself, then of its candidates.

    radius: |R|₁ of the stochastic text. words: where its verbs and nouns are found. attended: frames are darkened where
    a second stage does not look.
    """

    frames: Sequence[WeightedFrame]
    candidates: Sequence[tuple[float, float]]
    energy: float | None
    radius: float | None = None
    words: Sequence[WordPictures] = ()
    attended: bool = False


@dataclass(frozen=True)
class ExplainedSplit:
    """Texts and videos of a split as they are shown.

    Attributes:
        frames_of: frames_of(v) → real frames of a video, [M, H, W, 3], in the order of its features.
        described: described(text, video) → which of these frames the text is known to describe, [M] bool; None where
            that is not known, as everywhere by default.
        words_of: words_of(text) → the verbs and nouns that the head has nodes for.
    """

    frames_of: Callable[[int], np.ndarray]
    described: Callable[[int, int], np.ndarray | None] = lambda text, video: None
    words_of: Callable[[int], Words] = lambda text: {"verbs": (), "nouns": ()}


def explainer(
    head: Head,
    params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    draws: Draws,
    split: ExplainedSplit,
) -> Explain | None:
    """Make the function that explains pairs of a split by `Head.explain`.

    Args:
        head: Of the system.
        params: Of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        draws: Of the evaluation, so that the candidates are those that were scored.
        split: What is shown of its texts and videos.

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
                split.frames_of(video),
                split.described(text, video),
                split.words_of(text),
            )
            for video in chosen
        ]

    return explain


def _pair(
    aux: Mapping[str, np.ndarray], mask: np.ndarray, pictures: np.ndarray, described: np.ndarray | None, words: Words
) -> PairExplanation:
    aux = {name: np.asarray(values[0, 0]) for name, values in aux.items()}
    frames: list[WeightedFrame] = []
    of_words = word_pictures(aux, words, mask, pictures)
    attended = "attended_patches" in aux
    if attended:
        pictures = np.stack(attended_pictures(aux["attended_patches"], mask, pictures))
    by_frame = aux.get("frame_weights", aux.get("attended_frames"))
    if by_frame is None and attended:
        by_frame = aux["attended_patches"].sum(axis=-1)
    if by_frame is not None:
        weights = np.asarray(by_frame, float)[mask]
        inside = np.zeros(len(weights), bool) if described is None else described
        frames = [
            WeightedFrame(data_uri(frame), weight, share, bool(here))
            for frame, (weight, share), here in zip(pictures, _shares(weights), inside, strict=True)
        ]
    candidates = _shares(np.asarray(aux["candidate_weights"], float)) if "candidate_weights" in aux else []
    energy, radius = (float(aux[name]) if name in aux else None for name in ("energy", "radius_length"))
    return PairExplanation(frames, candidates, energy, radius, of_words, attended)


def _shares(weights: np.ndarray) -> list[tuple[float, float]]:
    largest = float(weights.max()) or 1.0
    return [(float(weight), float(weight) / largest) for weight in weights]
