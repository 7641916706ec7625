"""Evaluation of a head on encoded texts and videos: encode everything, score every pair, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.retrieval.host import to_host
from eaglenet_jax.retrieval.metrics import Metrics, RetrievalPlacement, place, placement_metrics
from eaglenet_jax.retrieval.scoring import Progress, score_gallery

Features = TypeVar("Features", TextFeatures, VideoFeatures)


@dataclass(frozen=True)
class Evaluation:
    """scores: [Nt, Nv]. metrics: by the tie rule "mean". seconds: for preparing and scoring, compilation included."""

    scores: np.ndarray
    placement: RetrievalPlacement
    metrics: Metrics
    seconds: float


def evaluate(
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    text_video: np.ndarray | None = None,
    *,
    draws: Draws,
    memory_budget: int | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores of the whole gallery and their metrics. See `score_gallery` and `place` for arguments and errors."""
    start = time.perf_counter()
    scores = score_gallery(
        head, head_params, texts, videos, draws=draws, memory_budget=memory_budget, mesh=mesh, progress=progress
    )
    seconds = time.perf_counter() - start
    placement = place(scores, text_video)
    return Evaluation(scores, placement, placement_metrics(placement), seconds)


def encode_all(
    encode: Callable[[dict[str, Any]], Features], batches: Iterable[Mapping[str, Any]], progress: Progress | None = None
) -> Features:
    """The features of all batches in host memory, in order, without padding rows.

    encode(batch) → TextFeatures or VideoFeatures of the batch's rows, on the device. A batch may hold "valid" [B] bool,
    False for rows that only fill it up; encode does not see it. With several processes, batches are global arrays and
    every process gets all features. progress(rows so far, batches so far). One batch is encoded while the one before is
    copied. Raises UserError if no row is valid.
    """
    parts: list[Any] = []
    rows = 0

    def keep(features: Any, valid: Any) -> None:
        nonlocal rows
        features = to_host(features)
        if valid is not None:
            real = to_host(valid).astype(bool)
            features = jax.tree.map(lambda leaf: leaf[real], features)
        parts.append(features)
        rows += len(features.id)
        if progress is not None:
            progress(rows, len(parts))

    waiting: tuple[Any, Any] | None = None
    for batch in batches:
        ahead = encode({name: value for name, value in batch.items() if name != "valid"}), batch.get("valid")
        if waiting is not None:
            keep(*waiting)
        waiting = ahead
    if waiting is not None:
        keep(*waiting)
    if not rows:
        raise UserError("nothing to encode: the split has no examples")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
