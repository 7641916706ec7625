"""Everything that can be computed from a score matrix: metrics, intervals, post-processing, a paired comparison.

`measure_files` (in `measured_files.py`) reads the matrices of any program; `measure_scores` computes.
`reports/score_text.py` and `reports/score_page.py` show the result. No config, checkpoint or device is involved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.postprocessed import (
    PostprocessOptions,
    QueryBanks,
    check_used,
    domain_warnings,
    postprocessed,
    row_warnings,
    temperatures,
)
from eaglenet_jax.metrics.ranks import (
    TIE_SHARE,
    Metrics,
    Relevance,
    RetrievalPlacement,
    RetrievalScores,
    chance_metrics,
    check_relevance,
    metrics_by_tie_rule,
    place,
    placement_metrics,
    recall_sum,
    with_misses,
)
from eaglenet_jax.metrics.relevance import place_relevant, ranking_quality, relevant_chance
from eaglenet_jax.metrics.significance import metric_intervals, paired_test
from eaglenet_jax.metrics.small_galleries import trivial_notes, without_trivial


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """How scores are counted and post-processed.

    Attributes:
        postprocess: Of "dual_softmax", "sinkhorn" and "qb_norm"; each adds a row to the raw scores. "qb_norm" needs a
            query bank, and changes the directions that it has one for.
        temperature: Of dual softmax and Sinkhorn; of QB-Norm where that is the only method. None: the best on the
            validation scores for dual softmax, if there are any, else 100; for QB-Norm its own.
        qb_temperature: Of QB-Norm. None: 20, its published default.
        ties: Tie rule, "mean", "optimistic" or "pessimistic".
        v2t_among: "videos" or "captions", see `place`.
        resamples: Bootstrap samples of the intervals.
        seed: Of the bootstrap and of the paired test.

    Raises:
        UserError: If a method or tie rule is unknown, or if a temperature is given that no method uses.
    """

    postprocess: Sequence[str] = ()
    temperature: float | None = None
    qb_temperature: float | None = None
    ties: str = "mean"
    v2t_among: str = "videos"
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ties not in TIE_SHARE:
            # Under "released" a query counts as often as it ties, so queries of two runs cannot be paired.
            raise UserError(f"tie rule {self.ties!r} is unknown here: use one of {', '.join(TIE_SHARE)}")
        self.methods()

    def methods(self) -> PostprocessOptions:
        """The methods with their temperatures, checked."""
        return PostprocessOptions(self.postprocess, self.temperature, self.qb_temperature)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Another run on the same queries, to compare with. Its scores have the shape of the run's, [Nt, Nv]."""

    scores: RetrievalScores
    name: str = "baseline"


@dataclasses.dataclass(frozen=True)
class ScoreReport:
    """The result of `measure_scores`.

    Attributes:
        summary: All numbers, in values that JSON can hold.
        scores: [Nt, Nv], the scores that were measured.
        placement: Ranks of all queries.
        baseline: Ranks of the same queries in the other run, None without one.
        baseline_scores: [Nt, Nv], its scores.
        v2t_scores: [Nt, Nv], those that texts of a video were ranked by.
        baseline_v2t_scores: [Nt, Nv], the same of the other run.
        relevance: All right pairs, None where a text has one right video.
        kept: [N] bool, which of the N texts of a file are the Nt that were measured. None: all of them.
    """

    summary: dict[str, Any]
    scores: np.ndarray
    placement: RetrievalPlacement
    baseline: RetrievalPlacement | None
    baseline_scores: np.ndarray | None = None
    v2t_scores: np.ndarray | None = None
    baseline_v2t_scores: np.ndarray | None = None
    relevance: Relevance | None = None
    kept: np.ndarray | None = None

    def right_videos(self, text: int) -> list[int]:
        """Return the right videos of a text, columns of the scores."""
        pairs = self.relevance
        if pairs is None:
            return [int(self.placement.text_video[text])]
        first, end = np.searchsorted(pairs.rows, [text, text + 1])
        return [int(column) for column in pairs.columns[first:end]]

    def right_texts(self, video: int) -> list[int]:
        """Return the right texts of a video, rows of the scores."""
        pairs = self.relevance
        if pairs is None:
            return np.flatnonzero(self.placement.text_video[: len(self.scores)] == video).tolist()
        return pairs.rows[pairs.columns == video].tolist()


def measure_scores(
    scores: RetrievalScores,
    *,
    name: str = "scores",
    missing: tuple[int, int] = (0, 0),
    baseline: Baseline | None = None,
    query_bank: np.ndarray | QueryBanks | None = None,
    validation: RetrievalScores | None = None,
    options: MeasureOptions | None = None,
) -> ScoreReport:
    """Compute metrics, intervals, post-processed metrics and a comparison of a score matrix.

    Args:
        scores: Scores [Nt, Nv] with their relevance. Where a text can have several right videos, R@K and ranks are
            those of the best right one, with MAP and nDCG beside them.
        name: Of the run, in tables.
        missing: Lost captions and videos, which count as misses, see `with_misses`.
        baseline: Another run on the same queries; it adds the differences of `paired_test`.
        query_bank: [Nb, Nv], scores of training texts against the same videos, for "qb_norm"; or banks of both
            directions.
        validation: Scores of a validation split, on which the temperature of "dual_softmax" is chosen.
        options: How scores are counted and post-processed; by default mean ties and no post-processing.

    Returns:
        The report. `summary` has "metrics" (`placement_metrics`; a recall that is 100 in a gallery of that size
        whatever the scores is None), "intervals" (`metric_intervals`), "chance", "by_tie_rule", "as_released",
        "tied_queries", "notes", "warnings" and, where they were asked for, "ranking" (`ranking_quality`),
        "postprocessed" with "temperatures", and "baseline".

    Raises:
        UserError: If a shape, an option or the relevance does not fit, or if something is given that nothing uses.
    """
    options = options or MeasureOptions()
    methods = options.methods()
    banks = query_bank if query_bank is None or isinstance(query_bank, QueryBanks) else QueryBanks(query_bank)
    check_used(methods, banks, validation)
    matrix, v2t_matrix, relevance = scores.scores, scores.v2t_scores, scores.relevance
    text_video = check_relevance(matrix.shape, scores.text_video if relevance is None else relevance.text_video)
    if v2t_matrix is matrix:
        v2t_matrix = None
    ties, among = options.ties, options.v2t_among

    def placed(t2v: np.ndarray, v2t: np.ndarray | None = None) -> RetrievalPlacement:
        if relevance is None:
            found = place(t2v, text_video, v2t_among=among, v2t_scores=v2t)
        else:
            found = place_relevant(t2v, relevance, v2t_among=among, v2t_scores=v2t)
        return with_misses(found, matrix.shape, missing, among)

    placement = placed(matrix, v2t_matrix)
    captioned = len(placement.videos) if among == "videos" else matrix.shape[0] + missing[0]
    galleries = {"t2v": matrix.shape[1] + missing[1], "v2t": captioned}

    def telling(metrics: Metrics) -> Metrics:
        return without_trivial(metrics, galleries)

    chance = telling(_chance(matrix.shape, text_video, relevance, among))
    summary: dict[str, Any] = {
        "name": name,
        "texts": matrix.shape[0],
        "videos": matrix.shape[1],
        "missing": list(missing),
        "ties": ties,
        "v2t_among": among,
        "metrics": telling(placement_metrics(placement, ties)),
        "intervals": telling(metric_intervals(placement, ties, resamples=options.resamples, seed=options.seed)),
        "tied_queries": _tied(placement),
        "by_tie_rule": {rule: telling(metrics) for rule, metrics in metrics_by_tie_rule(placement).items()},
        "as_released": telling(placement_metrics(placement, "released")),
        "chance": chance,
        "notes": list(trivial_notes(galleries)),
        "warnings": [],
    }
    if relevance is not None:
        summary["ranking"] = ranking_quality(matrix, relevance, ties, v2t_matrix)
    if methods.methods:
        both = {"t2v": matrix, "v2t": matrix if v2t_matrix is None else v2t_matrix}
        summary["temperatures"] = {
            method: temperatures(method, matrix, validation, methods, banks) for method in methods.methods
        }
        right = matrix[np.arange(len(text_video)), text_video]
        summary["warnings"] += domain_warnings(matrix, right, summary["temperatures"], methods)
        summary["postprocessed"] = {}
        raw = placement_metrics(placement, ties)
        for method, used in summary["temperatures"].items():
            sides: Metrics = {}
            for side, changed in postprocessed(both, method, used, banks):
                found = placed(changed)
                sides[side] = placement_metrics(found, ties)[side]
                summary["warnings"] += row_warnings(
                    method,
                    side,
                    sides[side] | {"tied": _tied(found)[side]},
                    raw[side] | {"tied": summary["tied_queries"][side]},
                    chance.get(side),
                )
            rsum = {"Rsum": recall_sum(**sides)} if len(sides) == 2 else {}
            summary["postprocessed"][method] = telling({**sides, **rsum})
    other = None
    if baseline is not None:
        theirs = baseline.scores
        if theirs.scores.shape != matrix.shape:
            raise UserError(
                f"{baseline.name} has shape {theirs.scores.shape}, {name} {matrix.shape}: compare the same queries"
            )
        other = placed(theirs.scores, theirs.v2t_scores)
        summary["baseline"] = {
            "name": baseline.name,
            "metrics": telling(placement_metrics(other, ties)),
            "difference": paired_test(placement, other, ties, seed=options.seed),
        }
    their_t2v, their_v2t = (None, None) if baseline is None else (baseline.scores.scores, baseline.scores.v2t_scores)
    return ScoreReport(
        summary,
        matrix,
        placement,
        other,
        baseline_scores=their_t2v,
        v2t_scores=matrix if v2t_matrix is None else v2t_matrix,
        baseline_v2t_scores=their_t2v if their_v2t is None else their_v2t,
        relevance=relevance,
    )


def _chance(shape: tuple[int, int], text_video: np.ndarray, relevance: Relevance | None, among: str) -> Metrics:
    if relevance is not None:
        return relevant_chance(relevance, shape, among)
    chance = chance_metrics(shape, text_video)
    return chance if among == "videos" else {"t2v": chance["t2v"]}  # it is counted among videos


def _tied(placement: RetrievalPlacement) -> dict[str, int]:
    """How many queries of each direction tie with an item that is not right."""
    return {
        "t2v": int(np.count_nonzero(placement.t2v.tied)),
        "v2t": int(np.count_nonzero(placement.v2t.tied)),
    }
