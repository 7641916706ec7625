"""Post-processing of a score matrix: dual softmax, QB-Norm, Sinkhorn. Off by default; an extra row of a report.

A result is *transductive* if the score of one query depends on which other queries are tested with it, which a search
for a single sentence cannot have. Directions: "t2v" ranks the videos of each text (row), "v2t" the texts of each video
(column).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import place, rank_metrics

QB_TEMPERATURE = 20.0  # of the QB-Norm paper


def dual_softmax(scores: np.ndarray, temperature: float = 100.0, direction: str = "t2v") -> np.ndarray:
    """Compute the dual softmax, s · softmax(temperature · s) over the queries. Transductive.

    The inference form of Cheng et al. 2021 (CAMoE). The softmax runs over the texts for "t2v" and over the videos for
    "v2t". It is made for cosines of right pairs above 0: scores with a logit scale in them underflow into ties
    (`dual_softmax_order` ranks without), and the order of negative scores is reversed by the product.

    Args:
        scores: [Nt, Nv].
        temperature: Factor of the scores in the softmax. The released programs use 1 or 100; `choose_temperature`
            finds one on validation scores.
        direction: "t2v" or "v2t".

    Returns:
        [Nt, Nv] float64.

    Raises:
        UserError: If the direction is unknown.
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


def dual_softmax_order(scores: np.ndarray, temperature: float = 100.0, direction: str = "t2v") -> np.ndarray:
    """Compute numbers in the order of `dual_softmax`, from logarithms, so that nothing underflows into ties.

    Args:
        scores: [Nt, Nv].
        temperature: Factor of the scores in the softmax.
        direction: "t2v" or "v2t".

    Returns:
        [Nt, Nv] float64: sign(v) · (log|v| − m), where v is the dual softmax and m so small that the bracket is 1 or
        more.

    Raises:
        UserError: If the direction is unknown.
    """
    if direction == "v2t":
        return dual_softmax_order(scores.T, temperature).T
    _check_direction(direction)
    scores = np.asarray(scores, np.float64)
    size = temperature * scores
    size -= _log_sum_exp(size, axis=0)
    sign = np.sign(scores)
    size += np.log(np.abs(scores), where=sign != 0, out=np.zeros_like(scores))
    size -= size.min(where=sign != 0, initial=np.inf) - 1 if sign.any() else 0.0
    size *= sign
    return size


def choose_temperature(
    scores: np.ndarray,
    text_video: np.ndarray | None = None,
    direction: str = "t2v",
    temperatures: Sequence[float] = (1.0, 3.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
) -> float:
    """Choose the temperature of the dual softmax on *validation* scores: the highest R@1, then the lowest mean rank.

    Args:
        scores: [Nt, Nv] of a validation split.
        text_video: [Nt], the video of each text. None: the diagonal.
        direction: "t2v" or "v2t".
        temperatures: To choose from.

    Returns:
        One of `temperatures`, the first of equally good ones.

    Raises:
        UserError: If the direction is unknown, or the relevance does not fit.
    """
    _check_direction(direction)

    def quality(temperature: float) -> tuple[float, float]:
        placement = place(dual_softmax_order(scores, temperature, direction), text_video)
        metrics = rank_metrics(getattr(placement, direction).ranks())
        return metrics["R@1"], -metrics["MnR"]

    return max(temperatures, key=quality)


def qb_norm(
    scores: np.ndarray, bank: np.ndarray, temperature: float = QB_TEMPERATURE, top_k: int = 1, direction: str = "t2v"
) -> np.ndarray:
    """Compute query-bank normalisation with the dynamic inverted softmax (Bogolin et al. 2022, eq. 3–4).

    An item of the gallery is a hub if it is among the `top_k` of any bank query. A query whose best item is a hub is
    scored s − log Σ_b exp(temperature · bank_b) / temperature (the paper's ratio, as a logarithm: the same ranking);
    the other queries keep s. So queries may be on different scales: only rank within a query. Not transductive in the
    test queries, since the bank is from training; it does use the whole test gallery.

    Args:
        scores: [Nt, Nv].
        bank: Scores of training queries: [Nb, Nv] for "t2v", texts × the test videos; [Nt, Nb] for "v2t", the test
            texts × videos.
        temperature: Factor of the scores in the softmax; the paper's is 20.
        top_k: How many of a bank query's best items are hubs.
        direction: "t2v" or "v2t".

    Returns:
        [Nt, Nv] float64.

    Raises:
        UserError: If the bank does not fit the scores, or the direction is unknown.
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
    """Compute scores of a balanced matching of all texts with all videos, for both directions. Transductive.

    exp(temperature · s) is scaled by rows and columns in turn until every text has the mass 1/Nt and every video 1/Nv
    (entropic optimal transport; Cuturi 2013), which assumes about equally many captions for each video.

    Args:
        scores: [Nt, Nv].
        temperature: Factor of the scores in the exponential.
        iterations: How often rows and columns are scaled.

    Returns:
        [Nt, Nv] float64, log(plan) / temperature, so that nothing underflows into ties.
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
