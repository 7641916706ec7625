"""Measuring of score matrices in files: the matrix, what belongs to what, and everything that it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.id_files import (
    CAPTION_COLUMNS,
    as_ids,
    read_list,
    relevance_from_captions,
    relevance_from_ids,
    without_suffix,
)
from eaglenet_jax.metrics.orientation import Reading, constant_row_warnings, orientation_warnings
from eaglenet_jax.metrics.postprocessed import QueryBanks
from eaglenet_jax.metrics.ranks import RetrievalScores, check_relevance
from eaglenet_jax.metrics.relevance import read_relevance, shared_captions
from eaglenet_jax.metrics.score_files import FileScores, MatrixForm, load_similarity, read_scores
from eaglenet_jax.metrics.score_report import Baseline, MeasureOptions, ScoreReport, measure_scores
from eaglenet_jax.wording import counted


@dataclass(frozen=True)
class RelevanceFiles:
    """Which text belongs to which video; without any of these it is as the file of scores says, else the diagonal.

    Attributes:
        captions_per_video: See `relevance_from_captions`.
        text_ids: File with the id of each row's video (`read_list`, `relevance_from_ids`), together with `video_ids`;
            with `pairs`, of each row's text.
        video_ids: File with the id of each column.
        pairs: File of right pairs, see `read_relevance`.
        captions: File with each row's caption: one that several videos have is right for each of them.
    """

    captions_per_video: str | None = None
    text_ids: str | Path | None = None
    video_ids: str | Path | None = None
    pairs: str | Path | None = None
    captions: str | Path | None = None


@dataclass(frozen=True)
class ValidationFiles:
    """Scores of a validation split and which of its texts belongs to which video."""

    scores: str | Path
    relevance: RelevanceFiles = RelevanceFiles()


@dataclass(frozen=True)
class QueryBankFiles:
    """Files of the query banks of `QueryBanks`."""

    t2v: str | Path | None = None
    v2t: str | Path | None = None


def measure_files(
    similarity: str | Path,
    *,
    relevance: RelevanceFiles | None = None,
    form: MatrixForm | None = None,
    baseline: str | Path | None = None,
    query_bank: str | Path | QueryBankFiles | None = None,
    validation: str | Path | ValidationFiles | None = None,
    options: MeasureOptions | None = None,
) -> ScoreReport:
    """Measure score matrices from files, see `measure_scores`.

    Args:
        similarity: A file of scores [Nt, Nv] (`read_array` says of which kinds), or a folder that `evaluate --save`
            wrote, which holds its own relevance.
        relevance: Which text belongs to which video. None: as the file says, else the diagonal.
        form: How files hold their scores, the baseline's, the bank's and the validation split's as well.
        baseline: As `similarity`, of another run on the same queries.
        query_bank: Scores [Nb, Nv] of training texts against the same videos, or banks of both directions.
        validation: As `similarity`, of a validation split.
        options: How scores are counted and post-processed.

    Returns:
        The report; its names are those of the files. "warnings" also has what speaks for another reading of the matrix.

    Raises:
        UserError: If a file cannot be read or does not fit the others.
    """
    relevance, form = relevance or RelevanceFiles(), form or MatrixForm()
    found = read_scores(similarity, form)
    scores, notes, kept, reading = _related(found, relevance, similarity)
    other = None
    if baseline is not None:
        of_other = read_scores(baseline, _form_of(baseline, form))
        _check_same_names(found, of_other, similarity, baseline)
        theirs = of_other.scores
        if kept is not None and len(theirs.scores) == len(kept):
            theirs = theirs._replace(
                scores=theirs.scores[kept], v2t_scores=None if theirs.v2t_scores is None else theirs.v2t_scores[kept]
            )
        other = Baseline(theirs, _display_name(baseline))
    report = measure_scores(
        scores,
        name=_display_name(similarity),
        baseline=other,
        query_bank=_banks(query_bank, form),
        validation=_validation(validation, form),
        options=options,
    )
    report.summary["notes"][:0] = notes
    chance = report.summary["chance"]["t2v"]["MnR"]
    report.summary["warnings"][:0] = [
        *constant_row_warnings(report.scores),
        *orientation_warnings(report.scores, report.placement, chance, reading),
    ]
    return dataclasses.replace(report, kept=kept)


def _check_same_names(found: FileScores, other: FileScores, path: str | Path, baseline: str | Path) -> None:
    """Raise UserError where two files name the same places differently; a file that only numbers them says nothing."""
    for kind, ours, theirs in (
        ("row", found.text_ids, other.text_ids),
        ("column", found.video_ids, other.video_ids),
    ):
        if ours is None or theirs is None or len(ours) != len(theirs):
            continue
        here, there = ([without_suffix(name) for name in as_ids(names)] for names in (ours, theirs))
        numbers = [str(i) for i in range(len(here))]
        if here == there or numbers in (here, there):
            continue
        place = next(i for i, (name, wanted) in enumerate(zip(there, here, strict=True)) if name != wanted)
        raise UserError(
            f"{baseline} names {kind} {place} {there[place]!r}, {path} {here[place]!r}: write both with the same texts "
            "and videos in the same order, or without names"
        )


def _related(
    found: FileScores, files: RelevanceFiles, path: str | Path
) -> tuple[RetrievalScores, list[str], np.ndarray | None, Reading]:
    """The scores with their relevance, sentences about it, which rows have a right video if not all have, and ids."""
    scores, notes = found.scores, list(found.notes)
    shape = scores.scores.shape
    if files.pairs is not None:
        if files.captions_per_video is not None or files.captions is not None:
            raise UserError("pairs of right texts and videos say everything: give neither captions nor their counts")
        text_ids = found.text_ids if files.text_ids is None else read_list(files.text_ids, shape[0])
        video_ids = found.video_ids if files.video_ids is None else read_list(files.video_ids, shape[1])
        pairs, answered = read_relevance(files.pairs, shape, text_ids, video_ids)
        left = int(np.count_nonzero(~answered))
        reading = Reading(None if left else text_ids, video_ids, single=False)
        if not left:
            return scores._replace(relevance=pairs), notes, None, reading
        notes.append(f"{counted(left, 'text')} without a right video, left out")
        matrices = (None if each is None else each[answered] for each in (scores.scores, scores.v2t_scores))
        kept_scores, kept_v2t = matrices
        assert kept_scores is not None
        return RetrievalScores(kept_scores, None, kept_v2t, pairs), notes, answered, reading
    text_video, reading = _from_files(files, shape)
    if text_video is None:
        text_video = scores.text_video
    if text_video is None:
        text_video = _from_names(found, notes, path)
    if text_video is None and shape[0] != shape[1]:
        raise UserError(
            f"{path} is {shape[0]} texts × {shape[1]} videos, not square: "
            "give --captions-per-video, or --text-ids and --video-ids, or --relevance"
            + (", or --transpose if it is videos × texts" if shape[0] < shape[1] else "")
        )
    scores = scores._replace(text_video=text_video)
    if files.captions is not None:
        captions = list(map(str, read_list(files.captions, shape[0], CAPTION_COLUMNS)))
        if len(captions) != shape[0]:
            raise UserError(f"{files.captions} has {len(captions)} captions for {shape[0]} texts (rows)")
        shared = shared_captions(captions, check_relevance(shape, text_video))
        several = int(np.count_nonzero(np.bincount(shared.rows) > 1))
        notes.append(f"{counted(several, 'caption')} of several videos, each of which is right")
        scores, reading = scores._replace(relevance=shared), dataclasses.replace(reading, single=False)
    return scores, notes, None, reading


def _from_files(files: RelevanceFiles, shape: tuple[int, int]) -> tuple[np.ndarray | None, Reading]:
    """text_video [Nt] from the files, None where none are given, and the ids."""
    if files.captions_per_video is not None and (files.text_ids is not None or files.video_ids is not None):
        raise UserError("give either captions per video or text and video ids, not both")
    if (files.text_ids is None) != (files.video_ids is None):
        raise UserError("text ids and video ids are needed together: one says to which of the others a row belongs")
    if files.captions_per_video is not None:
        return relevance_from_captions(files.captions_per_video, shape), Reading()
    if files.text_ids is not None and files.video_ids is not None:
        text_ids, video_ids = read_list(files.text_ids, shape[0]), read_list(files.video_ids, shape[1])
        return relevance_from_ids(text_ids, video_ids, shape), Reading(text_ids, video_ids)
    return None, Reading()


def _from_names(found: FileScores, notes: list[str], path: str | Path) -> np.ndarray | None:
    """text_video [Nt] from the names of rows and columns in the file of scores, None where they say nothing.

    Raises UserError where they fit only a matrix that is turned round.
    """
    rows, columns = found.text_ids, found.video_ids
    if rows is None or columns is None or as_ids(rows) == as_ids(columns) == [str(i) for i in range(len(rows))]:
        return None
    try:
        text_video = relevance_from_ids(rows, columns, found.scores.scores.shape)
    except UserError as error:
        if _fits(columns, rows):
            raise UserError(
                f"{path} has the names of videos in its rows and of texts in its columns: add --transpose"
            ) from error
        notes.append(f"names in the file do not say which text belongs to which video ({error})")
        return None
    notes.append("which text belongs to which video is from the names in the file")
    return text_video


def _fits(texts: Sequence[str], videos: Sequence[str]) -> bool:
    """Whether each text's name is that of one of the videos."""
    try:
        relevance_from_ids(texts, videos, (len(texts), len(videos)))
    except UserError:
        return False
    return True


def _validation(given: str | Path | ValidationFiles | None, form: MatrixForm) -> RetrievalScores | None:
    if given is None:
        return None
    files = given if isinstance(given, ValidationFiles) else ValidationFiles(given)
    try:
        form = _form_of(files.scores, dataclasses.replace(form, mask=None))  # the mask is of other texts
        scores, _, _, _ = _related(read_scores(files.scores, form), files.relevance, files.scores)
        return scores._replace(text_video=check_relevance(scores.scores.shape, scores.text_video))
    except UserError as error:
        said = str(error)
        for flag in ("captions-per-video", "text-ids", "video-ids"):
            said = said.replace(f"--{flag}", f"--validation-{flag}")
        raise UserError(f"validation scores: {said.replace(', or --relevance', '')}") from error


def _banks(given: str | Path | QueryBankFiles | None, form: MatrixForm) -> QueryBanks | None:
    if given is None:
        return None
    files = given if isinstance(given, QueryBankFiles) else QueryBankFiles(given)
    plain = MatrixForm(transpose=form.transpose, distances=form.distances)
    t2v, v2t = (None if file is None else load_similarity(file, plain) for file in (files.t2v, files.v2t))
    return QueryBanks(t2v, v2t)


def _form_of(path: str | Path, form: MatrixForm) -> MatrixForm:
    """The form of another file: that of the similarity; a folder of ours has none."""
    return MatrixForm() if Path(path).is_dir() else form


def _display_name(path: str | Path) -> str:
    return Path(path).stem or str(path)
