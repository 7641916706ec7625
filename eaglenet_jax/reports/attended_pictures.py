"""Pictures of what a head looks at: frames of a word, and frames with the patches that count brighter than the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eaglenet_jax.reports.frame_thumbnails import data_uri

DIM = 0.25  # brightness where nothing is looked at
Words = Mapping[str, Sequence[str]]  # "verbs" and "nouns" → the words of a caption, in the order of the head's nodes


@dataclass(frozen=True)
class WordPictures:
    """A word of a caption and where a head finds it. kind: "verb" or "noun". pictures: data URIs, in time."""

    word: str
    kind: str
    pictures: Sequence[str]


def brightened(frame: np.ndarray, weights: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Darken a frame where its patches count for little.

    Args:
        frame: [H, W, 3] uint8.
        weights: [P] of its patches, by rows of a square grid.
        largest: The weight at full brightness; by default the largest of the frame.

    Returns:
        [H, W, 3] uint8.
    """
    side = math.isqrt(len(weights))
    height, width = frame.shape[:2]
    most = float(weights.max()) if largest is None else largest
    share = np.clip(weights.reshape(side, side) / (most or 1.0), 0, 1)
    cells = share[np.arange(height)[:, None] * side // height, np.arange(width)[None] * side // width]
    return (frame * (DIM + (1 - DIM) * cells[..., None])).round().astype(np.uint8)


def word_pictures(
    aux: Mapping[str, np.ndarray], words: Words, mask: np.ndarray, frames: np.ndarray
) -> list[WordPictures]:
    """Draw the frames of the verbs and the patches of the nouns of a pair.

    Args:
        aux: "verb_frames" [V, M] and "noun_patches" [N, M, P] of the pair, or neither.
        words: The words of the caption.
        mask: [M], the real frames.
        frames: The real frames, [m, H, W, 3].

    Returns:
        A row for each word, verbs first, then nouns; none for a word that counts for nothing.
    """
    rows = []
    if "verb_frames" in aux:
        for word, weights in zip(words["verbs"], np.asarray(aux["verb_frames"])[:, mask], strict=False):
            rows.append(WordPictures(word, "verb", [data_uri(frames[i]) for i in np.flatnonzero(weights > 0)]))
    if "noun_patches" in aux:
        for word, patches in zip(words["nouns"], np.asarray(aux["noun_patches"])[:, mask], strict=False):
            chosen = np.flatnonzero(patches.max(axis=1) > 0)
            pictures = [data_uri(brightened(frames[i], patches[i], float(patches.max()))) for i in chosen]
            rows.append(WordPictures(word, "noun", pictures))
    return [row for row in rows if row.pictures]


def attended_pictures(patches: np.ndarray, mask: np.ndarray, frames: np.ndarray) -> list[np.ndarray]:
    """Darken the frames of a video where a second stage does not look.

    Args:
        patches: [M, P], attention to patches.
        mask: [M], the real frames.
        frames: The real frames, [m, H, W, 3].
    """
    real = np.asarray(patches, float)[mask]
    # Attention is nearly even over a frame that says nothing, and a share of the largest would hide the differences.
    low, high = real.min(axis=1, keepdims=True), real.max()
    return [
        brightened(frame, row, high - lowest[0]) for frame, row, lowest in zip(frames, real - low, low, strict=True)
    ]
