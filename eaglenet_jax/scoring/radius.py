"""Lengths of the radii of stochastic texts, by the explanation of a head."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.host import to_host

TEXTS, VIDEOS, AT_A_TIME = 64, 32, 8


def radius_lengths(
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    text_video: np.ndarray,
    *,
    draws: Draws,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Compute |R|₁ of pairs of at most TEXTS texts with at most VIDEOS of their videos (T-MASS, section 4.4).

    Args:
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        text_video: [Nt], the video of each text.
        draws: Of the evaluation.

    Returns:
        (lengths of pairs that belong together, lengths of the other pairs). None for a head without stochastic texts,
        and where all pairs are of one kind.
    """
    chosen = np.unique(text_video)[:VIDEOS]
    rows = np.flatnonzero(np.isin(text_video, chosen))[:TEXTS]
    some = jax.tree.map(lambda leaf: leaf[chosen], videos)

    @jax.jit
    def lengths(params: Any, text: TextFeatures, video: VideoFeatures) -> Any:
        explained: Any = head.apply({"params": params}, text, video, draws, method="explain")
        return explained.get("radius_length")

    def of(part: np.ndarray) -> TextFeatures:
        found: TextFeatures = jax.tree.map(lambda leaf: leaf[part], texts)
        return found

    if jax.eval_shape(lengths, head_params, of(rows[:1]), some) is None:
        return None
    parts = np.array_split(rows, -(-len(rows) // AT_A_TIME))
    found = np.concatenate([to_host(lengths(head_params, of(part), some)) for part in parts])
    own = text_video[rows][:, None] == chosen[None]
    return None if own.all() or not own.any() else (found[own], found[~own])
