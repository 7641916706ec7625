"""Reading of score matrices in the forms that other programs keep them in: padded, stacked, transposed, distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.array_files import FileArray, open_array, read_array
from eaglenet_jax.metrics.ranks import RetrievalScores
from eaglenet_jax.metrics.saved_scores import IDS, load_scores

PADDED = (
    "add --padded, with which rows that are -inf throughout are left out as padding and any other -inf is the lowest "
    "score"
)


@dataclass(frozen=True)
class MatrixForm:
    """How a file holds its scores, where it is not texts × videos with the higher score better.

    Attributes:
        padded: -inf is padding: rows that are -inf throughout are no texts, and any other -inf stands below every
            score. Rows of one other value throughout, as -1e9 or NaN, are padding too. Also reads [videos, captions,
            videos].
        mask: File of booleans, numbers or the words True and False, [Nt] or [videos, captions]: which rows are texts;
            or [videos], how many captions each video has.
        transpose: The file is videos × texts.
        distances: The lower, the better.
    """

    padded: bool = False
    mask: str | Path | None = None
    transpose: bool = False
    distances: bool = False


@dataclass(frozen=True)
class FileScores:
    """Scores from a file or folder.

    Attributes:
        scores: With relevance and video→text scores where the file says them.
        text_ids: Names of the rows, None where the file has none.
        video_ids: Names of the columns, None where the file has none.
        notes: Sentences about how the file was read.
    """

    scores: RetrievalScores
    text_ids: Sequence[str] | None = None
    video_ids: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


def load_similarity(path: str | Path, form: MatrixForm = MatrixForm()) -> np.ndarray:
    """Open a score matrix of any program.

    Args:
        path: Of the file, see `read_array`.
        form: How the file holds the scores.

    Returns:
        [Nt, Nv] real numbers; a .npy file is mapped, not copied.

    Raises:
        UserError: If it cannot be read, or is no such matrix.
    """
    return _formed(read_array(path), form, path).scores.scores


def read_scores(path: str | Path, form: MatrixForm = MatrixForm()) -> FileScores:
    """Open the scores of a file, or of a folder that `evaluate --save` wrote.

    Args:
        path: Of the file or folder.
        form: How a file holds the scores; a folder needs none.

    Returns:
        The scores; video→text scores only from a folder.

    Raises:
        UserError: If it is neither, or damaged, or has another form.
    """
    if Path(path).is_dir() and (Path(path) / IDS).exists():
        if form != MatrixForm():
            raise UserError(f"{path} was written by evaluate --save: it needs no --padded, --transpose or --distances")
        saved = load_scores(path)
        scores = RetrievalScores(saved.scores, saved.text_video, saved.v2t_scores)
        return FileScores(scores, saved.text_ids, saved.video_ids)
    return _formed(read_array(path), form, path)


def _formed(found: FileArray, form: MatrixForm, path: str | Path) -> FileScores:
    values = found.values
    notes = list(found.notes)
    rows, columns = found.row_ids, found.column_ids
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]) and values.shape[1] > 1:
        notes.append(f"shape {values.shape} was read as a matrix")
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    if values.ndim == 3 and not (form.padded or form.mask is not None):
        raise UserError(
            f"{path} has shape {values.shape}: expected a matrix, texts × videos. If it is [videos, captions, videos], "
            "add --padded where -inf fills it up, or --mask=FILE"
        )
    if form.transpose:
        if values.ndim == 3:
            raise UserError(f"{path} has shape {values.shape}: only a matrix can be transposed")
        values, rows, columns = values.T, columns, rows
    if form.distances:
        values = -np.asarray(values, np.result_type(values.dtype, np.float16))
    text_video = None
    if form.padded or form.mask is not None:
        values, text_video, kept = _without_padding(values, form, path)
        if rows is not None:
            rows = [name for name, keep in zip(rows, kept, strict=True) if keep]
        notes.append(f"{np.count_nonzero(~kept)} rows are padding and left out")
    if values.dtype.kind == "f" and np.isneginf(values).any():
        if not form.padded:
            row, column = np.argwhere(np.isneginf(values))[0]
            sign = "inf" if form.distances else "-inf"
            raise UserError(
                f"{path}: the score of text {row} and video {column} is {sign}. If this is padding, {PADDED}"
            )
        values = _finite(values)
    return FileScores(RetrievalScores(values, text_video), rows, columns, tuple(notes))


def _without_padding(
    values: np.ndarray, form: MatrixForm, path: str | Path
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Scores [Nt, Nv] of the real texts, their videos where the order says them, and which rows were kept."""
    videos = values.shape[-1]
    groups = values.shape[0] if values.ndim == 3 else videos
    if groups != videos:
        raise UserError(
            f"{path} has shape {values.shape}: expected [videos, captions, videos], with as many videos first as last; "
            "numpy.moveaxis puts axes in order"
        )
    flat = values.reshape(-1, videos)
    each, rest = divmod(len(flat), groups)
    kept = np.ones(len(flat), bool)
    if form.mask is not None:
        kept &= _mask(form.mask, groups, len(flat))
    if form.padded:
        one_value = (flat == flat[:, :1]) | np.isnan(flat) if flat.dtype.kind == "f" else flat == flat[:, :1]
        kept &= ~one_value.all(axis=1)
    if not kept.any():
        raise UserError(f"{path} holds nothing but padding: check the mask, and the sign of the scores")
    in_groups = rest == 0 and (values.ndim == 3 or not kept.all())
    text_video = np.repeat(np.arange(groups), each)[kept] if in_groups else None
    return (flat if kept.all() else flat[kept]), text_video, kept


def _mask(file: str | Path, groups: int, rows: int) -> np.ndarray:
    """Which of the rows are texts: a value for each, or how many of each video's rows are."""
    mask = open_array(file).values.reshape(-1)
    each, rest = divmod(rows, groups)
    if mask.dtype.kind not in "fiub" or not np.isfinite(mask).all():
        raise UserError(f"--mask={file} holds something that is neither a truth value nor a count")
    if len(mask) == groups and len(mask) != rows and not rest and mask.dtype.kind != "b":
        wrong = np.flatnonzero((mask < 0) | (mask > each) | (mask != np.round(mask)))
        if wrong.size:
            raise UserError(
                f"--mask={file} says that video {wrong[0]} has {mask[wrong[0]]:g} captions, but there are {each} rows "
                "for each video"
            )
        mask = (np.arange(each) < mask.reshape(-1, 1)).reshape(-1)
    if len(mask) != rows:
        counts = "" if rest else f", or a count for each of {groups} videos"
        raise UserError(f"--mask={file} has {len(mask)} values for {rows} rows: give one for each{counts}")
    return mask.astype(bool)


def _finite(values: np.ndarray) -> np.ndarray:
    """-inf as a finite score below all others; the order of the scores stays."""
    finite = values[np.isfinite(values)].astype(np.float64)
    lowest = finite.min(initial=0.0) - (np.ptp(finite) if finite.size else 0.0) - 1.0
    return np.where(np.isneginf(values), lowest, values.astype(np.float64))
