"""Scores of a gallery by any head in both directions: of all pairs, or of a candidate scorer with a rerank."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
from eaglenet_jax.scoring.rerank import RerankOptions, rerank


class BothWays(NamedTuple):
    """Scores of both directions: one matrix, unless pairs were reranked, which depends on the direction.

    Attributes:
        t2v: [Nt, Nv] to rank videos by for each text.
        v2t: [Nt, Nv] to rank texts by for each video.
    """

    t2v: np.ndarray
    v2t: np.ndarray


def score_both_ways(
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    *,
    draws: Draws,
    options: ScoringOptions | None = None,
) -> BothWays:
    """Score a gallery in both directions.

    A head with a candidate scorer adds its scores to that scorer's on the best candidates of each query; the candidate
    scores are spread over the mesh, the rerank is not.

    Args:
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...].
        videos: Features [Nv, ...].
        draws: Evaluation noise, as of `score_gallery`.
        options: As of `score_gallery`; of the rerank only the memory budget. Progress is that of the candidate scores.

    Returns:
        The scores of both directions.

    Raises:
        UserError: As `score_gallery` and `rerank`.
    """
    options = options or ScoringOptions()
    first = head.candidate_scorer(head_params)
    scoring, scoring_params = (head, head_params) if first is None else (first.head, first.params)
    gallery: tuple[Any, ...] = (texts, videos)
    scores = score_gallery(scoring, scoring_params, *gallery, draws=draws, options=options)
    if first is None:
        return BothWays(scores, scores)
    how = RerankOptions(first.top_k, combine="add", memory_budget=options.memory_budget)
    t2v, v2t = (
        rerank(scores, head, head_params, *gallery, draws=draws, options=dataclasses.replace(how, direction=direction))
        for direction in ("t2v", "v2t")
    )
    return BothWays(t2v, v2t)
