"""After-processing of a score matrix: dual softmax, QB-Norm, Sinkhorn. Off by default, reported beside the raw result.

A result is *transductive* if the score of one query depends on which other queries are tested with it: nobody who
types one sentence can have it. Directions: "t2v" ranks the videos of each text (row), "v2t" the texts of each video
(column).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import place, rank_metrics


def dual_softmax(scores: np.ndarray, temperature: float = 100.0, direction: str = "t2v") -> np.ndarray:
    """Dual softmax, s · softmax(temperature · s) over the queries, [Nt, Nv] float64. Transductive.

    The softmax runs over the texts for "t2v" and over the videos for "v2t" (Cheng et al. 2021, CAMoE, inference form).
    The released programs use temperature 1 or 100. Choose it on validation with `choose_temperature`.
    """
    if direction == "v2t":
        return dual_softmax(scores.T, temperature).T
    _check_direction(direction)
    scores = np.asarray(scores, np.float64)
    weight = temperature * scores
    weight -= weight.max(axis=0)
    np.exp(weight, out=weight)
    weight /= weight.sum(axis=0)
    weight *= scores
    return weight


def choose_temperature(
    scores: np.ndarray,
    text_video: np.ndarray | None = None,
    direction: str = "t2v",
    temperatures: Sequence[float] = (1.0, 3.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
) -> float:
    """The temperature whose dual softmax has the highest R@1, then the lowest mean rank, on *validation* scores."""
    _check_direction(direction)

    def quality(temperature: float) -> tuple[float, float]:
        placement = place(dual_softmax(scores, temperature, direction), text_video)
        metrics = rank_metrics(getattr(placement, direction).ranks())
        return metrics["R@1"], -metrics["MnR"]

    return max(temperatures, key=quality)


def qb_norm(
    scores: np.ndarray, bank: np.ndarray, temperature: float = 20.0, top_k: int = 1, direction: str = "t2v"
) -> np.ndarray:
    """Querybank normalisation with the dynamic inverted softmax (Bogolin et al. 2022, eq. 3–4), [Nt, Nv] float64.

    bank: [Nb, Nv] for "t2v", training texts against the test videos; [Nt, Nb] for "v2t", the test texts against
    training videos. An item of the gallery is a hub if it is among the `top_k` of any bank query. A query whose best
    item is a hub is scored s − log Σ_b exp(temperature · bank_b) / temperature (the paper's ratio, as a logarithm: the
    same ranking); the other queries keep s. So queries may be on different scales: only rank within a query.
    Not transductive in the test queries: the bank is from training. It does use the whole test gallery.
    """
    if direction == "v2t":
        return qb_norm(scores.T, bank.T, temperature, top_k).T
    _check_direction(direction)
    scores, bank = np.asarray(scores, np.float64), np.asarray(bank, np.float64)
    if bank.ndim != 2 or bank.shape[1] != scores.shape[1] or not bank.size:
        raise UserError(
            f"the query bank has shape {bank.shape}, the scores {scores.shape}: the bank must hold training queries "
            "against the same gallery"
        )
    top_k = min(top_k, bank.shape[1])
    hubs = np.unique(np.argpartition(-bank, top_k - 1, axis=1)[:, :top_k])
    peak = temperature * bank.max(axis=0)
    popularity = (peak + np.log(np.exp(temperature * bank - peak).sum(axis=0))) / temperature
    at_hub = np.isin(scores.argmax(axis=1), hubs)
    return np.where(at_hub[:, None], scores - popularity, scores)


def sinkhorn(scores: np.ndarray, temperature: float = 100.0, iterations: int = 50) -> np.ndarray:
    """Scores of a balanced matching of all texts with all videos, [Nt, Nv] float64, both directions. Transductive.

    exp(temperature · s) is scaled by rows and columns in turn until every text has the mass 1/Nt and every video 1/Nv
    (entropic optimal transport; Cuturi 2013), which presumes about equally many captions for each video. Returned is
    log(plan) / temperature, so nothing underflows into ties.
    """
    plan = temperature * np.asarray(scores, np.float64)
    texts, videos = plan.shape
    for _ in range(iterations):
        plan -= _log_sum_exp(plan, axis=0) + np.log(videos)
        plan -= _log_sum_exp(plan, axis=1) + np.log(texts)
    return plan / temperature


def _log_sum_exp(x: np.ndarray, axis: int) -> np.ndarray:
    peak = x.max(axis=axis, keepdims=True)
    return peak + np.log(np.exp(x - peak).sum(axis=axis, keepdims=True))


def _check_direction(direction: str) -> None:
    if direction not in ("t2v", "v2t"):
        raise UserError(f"direction {direction!r} is unknown: use 't2v' or 'v2t'")
