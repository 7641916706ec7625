"""Evaluation of a score matrix from a file, whoever wrote it: no config, no checkpoint, no device.

`measure_files` reads, `measure_scores` counts, `report_text.format_report` prints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.postprocess import choose_temperature, dual_softmax, qb_norm, sinkhorn
from eaglenet_jax.metrics.ranks import (
    TIE_SHARE,
    RetrievalPlacement,
    check_relevance,
    metrics_by_tie_rule,
    place,
    placement_metrics,
    recall_sum,
    with_misses,
)
from eaglenet_jax.metrics.score_files import (
    FileScores,
    load_similarity,
    read_list,
    read_scores,
    relevance_from_captions,
    relevance_from_ids,
)
from eaglenet_jax.metrics.significance import metric_intervals, paired_test
from eaglenet_jax.metrics.summary import chance_metrics

SIDES = ("t2v", "v2t")


@dataclasses.dataclass(frozen=True)
class ScoreReport:
    """What there is to say about a score matrix. summary: values that JSON can hold; baseline: of the other run."""

    summary: dict[str, Any]
    scores: np.ndarray
    placement: RetrievalPlacement
    baseline: RetrievalPlacement | None


def measure_files(
    similarity: str | Path,
    *,
    captions_per_video: str | None = None,
    text_ids: str | Path | None = None,
    video_ids: str | Path | None = None,
    baseline: str | Path | None = None,
    query_bank: str | Path | None = None,
    validation: str | Path | None = None,
    **options: Any,
) -> ScoreReport:
    """`measure_scores` of files. options: its other keyword arguments.

    similarity, baseline: .npy files (`load_similarity`), or folders that `evaluate --save` wrote, which know their
    ids. Relevance comes from captions_per_video or from both id files (`read_list`); without them from the folder,
    else it is the diagonal. query_bank: .npy of training texts × the same videos. validation: as similarity, square
    where it is a file. Raises UserError on anything that does not fit.
    """
    scores, text_video, v2t_scores = read_scores(similarity)
    if captions_per_video is not None and (text_ids is not None or video_ids is not None):
        raise UserError("give either captions per video or text and video ids, not both")
    if (text_ids is None) != (video_ids is None):
        raise UserError("text ids and video ids are needed together: one says to which of the others a row belongs")
    if captions_per_video is not None:
        text_video = relevance_from_captions(captions_per_video, scores.shape)
    elif text_ids is not None and video_ids is not None:
        text_video = relevance_from_ids(read_list(text_ids), read_list(video_ids), scores.shape)
    elif text_video is None and scores.shape[0] != scores.shape[1]:
        raise UserError(
            f"{similarity} is {scores.shape[0]} texts × {scores.shape[1]} videos, not square: "
            "give --captions-per-video, or --text-ids and --video-ids"
        )
    return measure_scores(
        scores,
        text_video,
        v2t_scores=v2t_scores,
        baseline=None if baseline is None else read_scores(baseline),
        query_bank=None if query_bank is None else load_similarity(query_bank),
        validation=None if validation is None else _validation(validation),
        name=_display_name(similarity),
        baseline_name="baseline" if baseline is None else _display_name(baseline),
        **options,
    )


def measure_scores(
    scores: np.ndarray,
    text_video: np.ndarray | None = None,
    *,
    v2t_scores: np.ndarray | None = None,
    baseline: np.ndarray | FileScores | None = None,
    query_bank: np.ndarray | None = None,
    validation: tuple[np.ndarray, np.ndarray | None] | None = None,
    postprocess: Sequence[str] = (),
    temperature: float | None = None,
    ties: str = "mean",
    v2t_among: str = "videos",
    missing: tuple[int, int] = (0, 0),
    resamples: int = 2000,
    seed: int = 0,
    name: str = "scores",
    baseline_name: str = "baseline",
) -> ScoreReport:
    """Everything there is to say about a score matrix [Nt, Nv].

    v2t_scores: [Nt, Nv] to rank texts by, where they are others. postprocess: of "dual_softmax", "sinkhorn", and
    "qb_norm", which needs `query_bank` and changes text→video only. temperature: of the first two; by default the best
    on `validation`, scores and text_video of a validation split, for dual softmax, else 100. missing: captions and
    videos that are lost and count as misses. The rest as in `place`, `metric_intervals` and `paired_test` (baseline:
    [Nt, Nv] of another run on the same queries, or one matrix for each direction).
    """
    if ties not in TIE_SHARE:
        # Under "released" a query counts as often as it ties, so queries of two runs cannot be paired.
        raise UserError(f"tie rule {ties!r} is unknown here: use one of {', '.join(TIE_SHARE)}")
    text_video = check_relevance(scores.shape, text_video)

    def placed(scores: np.ndarray, v2t_scores: np.ndarray | None = None) -> RetrievalPlacement:
        placement = place(scores, text_video, v2t_among=v2t_among, v2t_scores=v2t_scores)
        return with_misses(placement, *missing)

    if v2t_scores is scores:
        v2t_scores = None
    placement = placed(scores, v2t_scores)
    summary: dict[str, Any] = {
        "name": name,
        "texts": scores.shape[0],
        "videos": scores.shape[1],
        "missing": list(missing),
        "ties": ties,
        "v2t_among": v2t_among,
        "metrics": placement_metrics(placement, ties),
        "intervals": metric_intervals(placement, ties, resamples=resamples, seed=seed),
        "tied_queries": {
            "t2v": int(np.count_nonzero(placement.t2v.tied)),
            "v2t": int(np.count_nonzero(placement.v2t.tied)),
        },
        "by_tie_rule": metrics_by_tie_rule(placement),
        "as_released": placement_metrics(placement, "released"),
        "chance": chance_metrics(scores.shape, text_video),
    }
    if v2t_among == "captions":  # chance is counted among videos
        summary["chance"] = {"t2v": summary["chance"]["t2v"]}
    if postprocess:
        temperatures = {method: _temperatures(scores, method, temperature, validation) for method in postprocess}
        summary["temperatures"] = {method: found for method, found in temperatures.items() if found}
        summary["postprocessed"] = {}
        for method in postprocess:
            both = {"t2v": scores, "v2t": scores if v2t_scores is None else v2t_scores}
            changed = _postprocessed(both, method, temperatures[method], query_bank)
            sides = {side: placement_metrics(placed(matrix), ties)[side] for side, matrix in changed}
            rsum = {"Rsum": recall_sum(**sides)} if len(sides) == 2 else {}
            summary["postprocessed"][method] = {**sides, **rsum}
    other = None
    if baseline is not None:
        theirs = baseline if isinstance(baseline, FileScores) else FileScores(baseline)
        if theirs.scores.shape != scores.shape:
            raise UserError(
                f"{baseline_name} has shape {theirs.scores.shape}, {name} {scores.shape}: compare the same queries"
            )
        other = placed(theirs.scores, theirs.v2t_scores)
        summary["baseline"] = {
            "name": baseline_name,
            "metrics": placement_metrics(other, ties),
            "difference": paired_test(placement, other, ties, seed=seed),
        }
    return ScoreReport(summary, scores, placement, other)


def _validation(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    scores, text_video, _ = read_scores(path)
    try:
        return scores, check_relevance(scores.shape, text_video)
    except UserError as error:
        raise UserError(f"validation scores {path}: {error}, in a folder that evaluate --save wrote") from error


def _display_name(path: str | Path) -> str:
    return Path(path).stem or str(path)


def _temperatures(
    scores: np.ndarray,
    method: str,
    given: float | None,
    validation: tuple[np.ndarray, np.ndarray | None] | None,
) -> dict[str, Any]:
    """Temperature of a method in each direction, and where it is from. Empty for QB-Norm: it has its published one."""
    if method == "qb_norm":
        return {}
    if given is not None:
        return {"t2v": given, "v2t": given, "from": "as given"}
    if method == "sinkhorn":
        return {"t2v": 100.0, "v2t": 100.0, "from": "the default"}
    if validation is None:
        return {"t2v": 100.0, "v2t": 100.0, "from": "the default, without validation scores to choose it on"}
    chosen = {side: choose_temperature(*validation, side) for side in SIDES}
    where = "these very scores, which flatters the row" if validation[0] is scores else "the validation scores"
    return {**chosen, "from": f"chosen on {where}"}


def _postprocessed(
    scores: Mapping[str, np.ndarray], method: str, temperatures: Mapping[str, Any], bank: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """(direction, scores) of each direction that a method changes, one matrix at a time."""
    if method == "dual_softmax":
        yield from ((side, dual_softmax(scores[side], temperatures[side], side)) for side in SIDES)
        return
    if method == "sinkhorn":
        matrix = None
        for side in SIDES:
            if matrix is None or scores["t2v"] is not scores["v2t"]:
                matrix = sinkhorn(scores[side], temperatures[side])
            yield side, matrix
        return
    if method == "qb_norm":
        if bank is None:
            raise UserError("qb_norm needs a query bank: scores of training texts (rows) against the same videos")
        yield "t2v", qb_norm(scores["t2v"], bank)
        return
    raise UserError(f"post-processing {method!r} is unknown: use dual_softmax, sinkhorn or qb_norm")
