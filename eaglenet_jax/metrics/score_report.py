"""Everything that can be computed from a score matrix: metrics, intervals, post-processing, a paired comparison.

`measure_files` reads the matrices of any program; `measure_scores` computes. `reports/score_text.py` and
`reports/score_page.py` show the result. No config, checkpoint or device is involved.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.postprocess import QB_TEMPERATURE, choose_temperature, dual_softmax, qb_norm, sinkhorn
from eaglenet_jax.metrics.ranks import (
    TIE_SHARE,
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
from eaglenet_jax.metrics.score_files import (
    load_similarity,
    read_list,
    read_scores,
    relevance_from_captions,
    relevance_from_ids,
)
from eaglenet_jax.metrics.significance import metric_intervals, paired_test

SIDES = ("t2v", "v2t")
METHODS = ("dual_softmax", "sinkhorn", "qb_norm")
DEFAULT_TEMPERATURE = 100.0  # of dual softmax and Sinkhorn


@dataclasses.dataclass(frozen=True)
class MeasureOptions:
    """How scores are counted and post-processed.

    Attributes:
        postprocess: Of "dual_softmax", "sinkhorn" and "qb_norm"; each adds a row to the raw scores. "qb_norm" needs a
            query bank and changes text→video only.
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
        methods = set(self.postprocess)
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
        alone = set(self.postprocess) == {"qb_norm"}
        return self.temperature if alone and self.qb_temperature is None else self.qb_temperature


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Another run on the same queries, to compare with. Its scores have the shape of the run's, [Nt, Nv]."""

    scores: RetrievalScores
    name: str = "baseline"


@dataclasses.dataclass(frozen=True)
class RelevanceFiles:
    """Which text belongs to which video, in one of two ways; without either it is the diagonal.

    Attributes:
        captions_per_video: See `relevance_from_captions`.
        text_ids: File with the id of each row's video (`read_list`, `relevance_from_ids`), together with `video_ids`.
        video_ids: File with the id of each column.
    """

    captions_per_video: str | None = None
    text_ids: str | Path | None = None
    video_ids: str | Path | None = None


@dataclasses.dataclass(frozen=True)
class ScoreReport:
    """The result of `measure_scores`.

    Attributes:
        summary: All numbers, in values that JSON can hold.
        scores: [Nt, Nv], the scores that were measured.
        placement: Ranks of all queries.
        baseline: Ranks of the same queries in the other run, None without one.
    """

    summary: dict[str, Any]
    scores: np.ndarray
    placement: RetrievalPlacement
    baseline: RetrievalPlacement | None


def measure_files(
    similarity: str | Path,
    *,
    relevance: RelevanceFiles | None = None,
    baseline: str | Path | None = None,
    query_bank: str | Path | None = None,
    validation: str | Path | None = None,
    options: MeasureOptions | None = None,
) -> ScoreReport:
    """Measure score matrices from files, see `measure_scores`.

    Args:
        similarity: A .npy file of scores [Nt, Nv] (`load_similarity`), or a folder that `evaluate --save` wrote, which
            holds its own relevance.
        relevance: Which text belongs to which video. None: as the folder says, else the diagonal.
        baseline: As `similarity`, of another run on the same queries.
        query_bank: A .npy file of scores [Nb, Nv] of training texts against the same videos.
        validation: As `similarity`, of a validation split; square where it is a file.
        options: How scores are counted and post-processed.

    Returns:
        The report; its names are those of the files.

    Raises:
        UserError: If a file cannot be read or does not fit the others.
    """
    relevance = relevance or RelevanceFiles()
    found = read_scores(similarity)
    shape = found.scores.shape
    text_video = _relevance(relevance, shape)
    if text_video is not None:
        found = found._replace(text_video=text_video)
    elif found.text_video is None and shape[0] != shape[1]:
        raise UserError(
            f"{similarity} is {shape[0]} texts × {shape[1]} videos, not square: "
            "give --captions-per-video, or --text-ids and --video-ids"
        )
    return measure_scores(
        found,
        name=_display_name(similarity),
        baseline=None if baseline is None else Baseline(read_scores(baseline), _display_name(baseline)),
        query_bank=None if query_bank is None else load_similarity(query_bank),
        validation=None if validation is None else _validation(validation),
        options=options,
    )


def measure_scores(
    scores: RetrievalScores,
    *,
    name: str = "scores",
    missing: tuple[int, int] = (0, 0),
    baseline: Baseline | None = None,
    query_bank: np.ndarray | None = None,
    validation: RetrievalScores | None = None,
    options: MeasureOptions | None = None,
) -> ScoreReport:
    """Compute metrics, intervals, post-processed metrics and a comparison of a score matrix.

    Args:
        scores: Scores [Nt, Nv] with their relevance.
        name: Of the run, in tables.
        missing: Lost captions and videos, which count as misses, see `with_misses`.
        baseline: Another run on the same queries; it adds the differences of `paired_test`.
        query_bank: [Nb, Nv], scores of training texts against the same videos, for "qb_norm".
        validation: Scores of a validation split, on which the temperature of "dual_softmax" is chosen.
        options: How scores are counted and post-processed; by default mean ties and no post-processing.

    Returns:
        The report. `summary` has "metrics" (`placement_metrics`), "intervals" (`metric_intervals`), "chance",
        "by_tie_rule", "as_released", "tied_queries" and, where they were asked for, "postprocessed" with
        "temperatures", and "baseline".

    Raises:
        UserError: If a shape, an option or the relevance does not fit, or if something is given that nothing uses.
    """
    options = options or MeasureOptions()
    _check_used(options, query_bank, validation)
    matrix, v2t_matrix = scores.scores, scores.v2t_scores
    text_video = check_relevance(matrix.shape, scores.text_video)
    if v2t_matrix is matrix:
        v2t_matrix = None

    def placed(t2v: np.ndarray, v2t: np.ndarray | None = None) -> RetrievalPlacement:
        placement = place(t2v, text_video, v2t_among=options.v2t_among, v2t_scores=v2t)
        return with_misses(placement, *missing)

    placement = placed(matrix, v2t_matrix)
    ties = options.ties
    summary: dict[str, Any] = {
        "name": name,
        "texts": matrix.shape[0],
        "videos": matrix.shape[1],
        "missing": list(missing),
        "ties": ties,
        "v2t_among": options.v2t_among,
        "metrics": placement_metrics(placement, ties),
        "intervals": metric_intervals(placement, ties, resamples=options.resamples, seed=options.seed),
        "tied_queries": {
            "t2v": int(np.count_nonzero(placement.t2v.tied)),
            "v2t": int(np.count_nonzero(placement.v2t.tied)),
        },
        "by_tie_rule": metrics_by_tie_rule(placement),
        "as_released": placement_metrics(placement, "released"),
        "chance": chance_metrics(matrix.shape, text_video),
    }
    if options.v2t_among == "captions":  # chance is counted among videos
        summary["chance"] = {"t2v": summary["chance"]["t2v"]}
    if options.postprocess:
        both = {"t2v": matrix, "v2t": matrix if v2t_matrix is None else v2t_matrix}
        summary["temperatures"], summary["postprocessed"] = {}, {}
        for method in options.postprocess:
            temperatures = _temperatures(method, matrix, validation, options)
            changed = _postprocessed(both, method, temperatures, query_bank)
            sides = {side: placement_metrics(placed(processed), ties)[side] for side, processed in changed}
            rsum = {"Rsum": recall_sum(**sides)} if len(sides) == 2 else {}
            summary["temperatures"][method] = temperatures
            summary["postprocessed"][method] = {**sides, **rsum}
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
            "metrics": placement_metrics(other, ties),
            "difference": paired_test(placement, other, ties, seed=options.seed),
        }
    return ScoreReport(summary, matrix, placement, other)


def _relevance(files: RelevanceFiles, shape: tuple[int, int]) -> np.ndarray | None:
    """text_video [Nt] from the files, None where none are given."""
    if files.captions_per_video is not None and (files.text_ids is not None or files.video_ids is not None):
        raise UserError("give either captions per video or text and video ids, not both")
    if (files.text_ids is None) != (files.video_ids is None):
        raise UserError("text ids and video ids are needed together: one says to which of the others a row belongs")
    if files.captions_per_video is not None:
        return relevance_from_captions(files.captions_per_video, shape)
    if files.text_ids is not None and files.video_ids is not None:
        return relevance_from_ids(read_list(files.text_ids), read_list(files.video_ids), shape)
    return None


def _validation(path: str | Path) -> RetrievalScores:
    found = read_scores(path)
    try:
        return found._replace(text_video=check_relevance(found.scores.shape, found.text_video))
    except UserError as error:
        raise UserError(f"validation scores {path}: {error}, in a folder that evaluate --save wrote") from error


def _display_name(path: str | Path) -> str:
    return Path(path).stem or str(path)


def _check_used(options: MeasureOptions, query_bank: np.ndarray | None, validation: RetrievalScores | None) -> None:
    """Raise UserError for a query bank or validation scores that are absent but needed, or given but not used."""
    if "qb_norm" in options.postprocess and query_bank is None:
        raise UserError("qb_norm needs a query bank: scores of training texts (rows) against the same videos")
    if query_bank is not None and "qb_norm" not in options.postprocess:
        raise UserError("a query bank is given without QB-Norm: add --postprocess=qb_norm")
    if validation is not None and ("dual_softmax" not in options.postprocess or options.temperature is not None):
        raise UserError(
            "validation scores are given but no temperature to choose on them: add --postprocess=dual_softmax and "
            "leave out --temperature"
        )


def _temperatures(
    method: str, scores: np.ndarray, validation: RetrievalScores | None, options: MeasureOptions
) -> dict[str, Any]:
    """The temperature of a method in each direction that it changes, and under "from" why it is that."""
    if method == "qb_norm":
        given = options.qb_norm_temperature
        if given is None:
            return {"t2v": QB_TEMPERATURE, "from": "its published default"}
        return {"t2v": given, "from": "as given"}
    if options.temperature is not None:
        return {"t2v": options.temperature, "v2t": options.temperature, "from": "as given"}
    default = dict.fromkeys(SIDES, DEFAULT_TEMPERATURE)
    if method == "sinkhorn":
        return {**default, "from": "the default"}
    if validation is None:
        return {**default, "from": "the default, without validation scores to choose it on"}
    chosen = {side: choose_temperature(validation.scores, validation.text_video, side) for side in SIDES}
    same = validation.scores is scores
    where = "these very scores, which makes the row optimistic" if same else "the validation scores"
    return {**chosen, "from": f"chosen on {where}"}


def _postprocessed(
    scores: Mapping[str, np.ndarray], method: str, temperatures: Mapping[str, Any], bank: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """(direction, scores) of each direction that a method changes, one matrix at a time."""
    if method == "dual_softmax":
        yield from ((side, dual_softmax(scores[side], temperatures[side], side)) for side in SIDES)
    elif method == "sinkhorn":
        matrix = None
        for side in SIDES:
            if matrix is None or scores["t2v"] is not scores["v2t"]:
                matrix = sinkhorn(scores[side], temperatures[side])
            yield side, matrix
    elif method == "qb_norm" and bank is not None:
        yield "t2v", qb_norm(scores["t2v"], bank, temperatures["t2v"])
