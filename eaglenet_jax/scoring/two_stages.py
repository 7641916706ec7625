"""Full-gallery scores of any head: of all pairs, or, where a head has a first stage, that stage's and a rerank."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.gallery import Progress, score_gallery
from eaglenet_jax.scoring.rerank import rerank


class BothWays(NamedTuple):
    """Scores [Nt, Nv] to rank videos by for each text, and texts by for each video: one matrix unless some pairs were
    reranked, which depends on who asks.
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
    memory_budget: int | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> BothWays:
    """As `score_gallery`; a head with a first stage adds its scores to that stage's on the best candidates of each
    query. The first stage is spread over the mesh, the rerank is not. progress: of the first stage.
    """
    first = head.candidate_scorer(head_params)
    scoring, scoring_params = (head, head_params) if first is None else (first.head, first.params)
    gallery: tuple[Any, ...] = (texts, videos)
    scores = score_gallery(
        scoring, scoring_params, *gallery, draws=draws, memory_budget=memory_budget, mesh=mesh, progress=progress
    )
    if first is None:
        return BothWays(scores, scores)
    t2v, v2t = (
        rerank(
            scores,
            head,
            head_params,
            *gallery,
            draws=draws,
            top_k=first.top_k,
            direction=direction,
            combine="add",
            memory_budget=memory_budget,
        )
        for direction in ("t2v", "v2t")
    )
    return BothWays(t2v, v2t)
