"""Post-processing as rows of a report: which temperature is used and why, and whether the scores suit the method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.postprocess import QB_TEMPERATURE, choose_temperature, dual_softmax_order, qb_norm, sinkhorn
from eaglenet_jax.metrics.ranks import Metrics, RetrievalScores

SIDES = ("t2v", "v2t")
METHODS = ("dual_softmax", "sinkhorn", "qb_norm")
DEFAULT_TEMPERATURE = 100.0  # of dual softmax and Sinkhorn
LARGEST_COSINE = 1.5  # scores beyond it are no cosines
STEEP = 10.0  # a temperature from which on larger scores saturate
TIED_SHARE = 0.02  # of the queries, more than without the method


@dataclass(frozen=True)
class QueryBanks:
    """Scores of training queries against the test gallery, for QB-Norm.

    Attributes:
        t2v: [Nb, Nv], training texts × the test videos.
        v2t: [Nt, Nb], the test texts × training videos. None: only text→video is normalised.
    """

    t2v: np.ndarray | None = None
    v2t: np.ndarray | None = None

    def sides(self) -> tuple[str, ...]:
        """The directions that there is a bank for."""
        return tuple(side for side in SIDES if getattr(self, side) is not None)


@dataclass(frozen=True)
class PostprocessOptions:
    """Methods and their temperatures.

    Attributes:
        methods: Of `METHODS`.
        temperature: Of dual softmax and Sinkhorn, and of QB-Norm where that is the only method. None: chosen.
        qb_temperature: Of QB-Norm. None: 20, its published default.

    Raises:
        UserError: If a method is unknown, or if a temperature is given that no method uses.
    """

    methods: Sequence[str] = ()
    temperature: float | None = None
    qb_temperature: float | None = None

    def __post_init__(self) -> None:
        methods = set(self.methods)
        if methods - set(METHODS):
            unknown = min(methods - set(METHODS))
            raise UserError(f"post-processing {unknown!r} is unknown: use dual_softmax, sinkhorn or qb_norm")
        for name, value in (("temperature", self.temperature), ("QB-Norm's temperature", self.qb_temperature)):
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is {value:g}: give a positive number")
        if self.temperature is not None and not methods:
            raise UserError("a temperature is given without post-processing: add --postprocess=METHOD")
        if self.qb_temperature is not None and "qb_norm" not in methods:
            raise UserError("a temperature of QB-Norm is given without QB-Norm: add --postprocess=qb_norm")
        if self.temperature is not None and self.qb_temperature is not None and methods == {"qb_norm"}:
            raise UserError("QB-Norm has two temperatures: give --temperature or --qb-temperature, not both")

    @property
    def qb_norm_temperature(self) -> float | None:
        """The temperature given for QB-Norm, None where none was."""
        alone = set(self.methods) == {"qb_norm"}
        return self.temperature if alone and self.qb_temperature is None else self.qb_temperature


def check_used(options: PostprocessOptions, banks: QueryBanks | None, validation: RetrievalScores | None) -> None:
    """Raise UserError for a query bank or validation scores that are absent but needed, or given but not used."""
    given = banks is not None and bool(banks.sides())
    if "qb_norm" in options.methods and not given:
        raise UserError("qb_norm needs a query bank: scores of training texts (rows) against the same videos")
    if given and "qb_norm" not in options.methods:
        raise UserError("a query bank is given without QB-Norm: add --postprocess=qb_norm")
    if validation is not None and ("dual_softmax" not in options.methods or options.temperature is not None):
        raise UserError(
            "validation scores are given but no temperature to choose on them: add --postprocess=dual_softmax and "
            "leave out --temperature"
        )


def temperatures(
    method: str,
    scores: np.ndarray,
    validation: RetrievalScores | None,
    options: PostprocessOptions,
    banks: QueryBanks | None,
) -> dict[str, Any]:
    """The temperature of a method in each direction that it changes, and under "from" why it is that."""
    if method == "qb_norm":
        given = options.qb_norm_temperature
        sides = banks.sides() if banks is not None else ()
        used = dict.fromkeys(sides, QB_TEMPERATURE if given is None else given)
        return {**used, "from": "its published default" if given is None else "as given"}
    if options.temperature is not None:
        return {"t2v": options.temperature, "v2t": options.temperature, "from": "as given"}
    default = dict.fromkeys(SIDES, DEFAULT_TEMPERATURE)
    if method == "sinkhorn":
        return {**default, "from": "the default"}
    if validation is None:
        return {**default, "from": "the default, without validation scores to choose it on"}
    of_side = {"t2v": validation.scores, "v2t": validation.scores}
    if validation.v2t_scores is not None:  # reranked, which depends on the direction
        of_side["v2t"] = validation.v2t_scores
    chosen = {side: choose_temperature(of_side[side], validation.text_video, side) for side in SIDES}
    same = validation.scores is scores
    where = "these very scores, which makes the row optimistic" if same else "the validation scores"
    return {**chosen, "from": f"chosen on {where}"}


def postprocessed(
    scores: Mapping[str, np.ndarray], method: str, used: Mapping[str, Any], banks: QueryBanks | None
) -> Iterator[tuple[str, np.ndarray]]:
    """(direction, scores) of each direction that a method changes, one matrix at a time."""
    if method == "dual_softmax":
        yield from ((side, dual_softmax_order(scores[side], used[side], side)) for side in SIDES)
    elif method == "sinkhorn":
        matrix = None
        for side in SIDES:
            if matrix is None or scores["t2v"] is not scores["v2t"]:
                matrix = sinkhorn(scores[side], used[side])
            yield side, matrix
    elif banks is not None:
        for side in banks.sides():
            yield side, qb_norm(scores[side], getattr(banks, side), used[side], direction=side)


def domain_warnings(
    scores: np.ndarray, right: np.ndarray, used: Mapping[str, Mapping[str, Any]], options: PostprocessOptions
) -> Iterator[str]:
    """Say where scores are not what a method is made for.

    Args:
        scores: [Nt, Nv].
        right: [Nt], the score of each text's right video.
        used: By method, its temperatures.
        options: Which of them were given.

    Returns:
        Sentences.
    """
    largest = max(abs(float(scores.max())), abs(float(scores.min())))
    for method, found in used.items():
        steepest = max(value for side, value in found.items() if side in SIDES)
        if largest > LARGEST_COSINE and steepest >= STEEP and not found["from"].startswith("chosen"):
            flag = "--qb-temperature" if method == "qb_norm" and len(options.methods) > 1 else "--temperature"
            chosen = ", or --validation=FILE to choose it" if method == "dual_softmax" else ""
            yield (
                f"{method}: the scores reach {largest:.3g}, so they are no cosines and may carry CLIP's logit scale "
                f"already; temperature {steepest:g} is meant for cosines. Try {flag}=1{chosen}"
            )
    below = float(np.mean(right < 0))
    if "dual_softmax" in used and below > 0:
        yield (
            f"dual_softmax: the right pair of {100 * below:.0f} % of the texts scores below 0, where s · softmax(s) "
            "reverses the order: add a constant that makes scores positive, or use sinkhorn, which no constant changes"
        )


def row_warnings(method: str, side: str, metrics: Metrics, raw: Metrics, chance: Metrics | None) -> Iterator[str]:
    """Say where post-processed scores are no ranking any more. Metrics of one direction, "tied" among them."""
    arrow = "text → video" if side == "t2v" else "video → text"
    if chance is not None and metrics["MnR"] > chance["MnR"] and raw["MnR"] <= chance["MnR"]:
        yield f"{method}, {arrow}: a mean rank of {metrics['MnR']:.1f} is below chance ({chance['MnR']:.1f})"
    elif chance is not None and raw["R@1"] > metrics["R@1"] < (chance["R@1"] or 0.0):
        yield f"{method}, {arrow}: R@1 {metrics['R@1']:.1f} is below chance ({chance['R@1']:.1f})"
    more = (metrics["tied"] - raw["tied"]) / metrics["queries"]
    if more > TIED_SHARE:
        yield (
            f"{method}, {arrow}: the right item of {metrics['tied']} of {metrics['queries']} queries is tied, "
            f"of {raw['tied']} before"
        )
