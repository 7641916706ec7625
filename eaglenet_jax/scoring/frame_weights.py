"""Frame weights of chosen pairs of texts and videos, by the explanation of a head."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.host import padded_rows, to_host

PAIRS = 32  # computed at a time


def frame_weights(
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    pairs: tuple[np.ndarray, np.ndarray],
    *,
    draws: Draws,
) -> np.ndarray | None:
    """Compute how much each frame counts in chosen pairs.

    Args:
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        pairs: Rows of texts [N] and rows of videos [N], N ≥ 1.
        draws: Of the evaluation, so that the noise is that of the scores.

    Returns:
        [N, M] float64, which sum to 1 over the real frames of each pair and are 0 at padding (also for a head that does
        not mask it). None for a head that weighs no frames for a text.
    """
    text_rows, video_rows = (np.asarray(rows, np.int64) for rows in pairs)
    weigh = make_frame_weights(head)

    def inputs(chosen: np.ndarray) -> tuple[Any, Any]:
        return (
            jax.tree.map(lambda leaf: leaf[text_rows[chosen]], texts),
            jax.tree.map(lambda leaf: leaf[video_rows[chosen]], videos),
        )

    count = len(text_rows)
    size = min(PAIRS, count)
    if jax.eval_shape(weigh, head_params, *inputs(padded_rows(0, size, count)), draws) is None:
        return None
    parts = [
        to_host(weigh(head_params, *inputs(padded_rows(start, size, count)), draws)) for start in range(0, count, size)
    ]
    real = np.where(np.asarray(videos.mask)[video_rows], np.concatenate(parts)[:count].astype(np.float64), 0)
    total = real.sum(axis=1, keepdims=True)
    return real / np.where(total > 0, total, 1)


@functools.lru_cache(maxsize=8)
def make_frame_weights(head: Head) -> Any:
    """Make the jitted function of the frame weights of matching rows.

    Args:
        head: Of the system.

    Returns:
        f(params, texts [N, ...], videos [N, ...], draws) → weights [N, M] of text i with video i, or None if the head
        explains no frame weights.
    """

    def pair(params: Any, text: TextFeatures, video: VideoFeatures, draws: Draws) -> Any:
        one = jax.tree.map(lambda leaf: leaf[None], (text, video))
        explained: Any = head.apply({"params": params}, *one, draws, method="explain")
        weights = explained.get("frame_weights")
        return None if weights is None else weights[0, 0]

    return jax.jit(jax.vmap(pair, in_axes=(None, 0, 0, None)))
