"""Scores of a file in the order of a gallery whose texts and videos have ids, by the names of its rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.id_files import as_ids, columns_of, find_column, without_suffix
from eaglenet_jax.metrics.ranks import RetrievalScores
from eaglenet_jax.metrics.score_files import FileScores


@dataclass(frozen=True)
class NamedGallery:
    """Ids of a gallery.

    Attributes:
        text_ids: Nt ids of captions.
        video_ids: Nv ids.
        text_video: [Nt], the column of each text's video.
    """

    text_ids: Sequence[str]
    video_ids: Sequence[str]
    text_video: np.ndarray


def match_names(found: FileScores, gallery: NamedGallery, path: str | Path) -> RetrievalScores:
    """Put the scores of a file in the order of a gallery.

    A column is named by the id of its video, a row by that of its caption or of its video ("video7#2" is one of video
    7's). Rows or columns without names, or that a file only counts from 0, stay where they are.

    Args:
        found: The scores with the names that the file has.
        gallery: What they are compared with.
        path: Of the file, for errors.

    Returns:
        The scores; which text belongs to which video is the gallery's.

    Raises:
        UserError: If the names are those of other texts or videos, or do not say which is which.
    """
    shape, wanted = found.scores.scores.shape, (len(gallery.text_ids), len(gallery.video_ids))
    if shape != wanted:
        what = "write it texts × videos" if shape == wanted[::-1] else "compare the same texts and videos"
        raise UserError(
            f"--baseline={path} has {shape[0]} rows and {shape[1]} columns for {wanted[0]} texts and {wanted[1]} "
            f"videos: {what}"
        )
    saved = Path(path).is_dir()  # its ids are ids, be they numbers
    names = (
        None if each is None or (_counted(each) and not saved) else each for each in (found.text_ids, found.video_ids)
    )
    row_names, column_names = names
    try:
        rows = None if row_names is None else _rows(as_ids(row_names), gallery)
        columns = None if column_names is None else _columns(column_names, gallery)
    except UserError as error:
        raise UserError(f"--baseline={path}: {error}; compare the same texts and videos") from error
    matrices = [found.scores.scores, found.scores.v2t_scores]
    for axis, order in enumerate((rows, columns)):
        if order is not None and not np.array_equal(order, np.arange(shape[axis])):
            matrices = [None if each is None else np.take(each, order, axis) for each in matrices]
    scores, v2t_scores = matrices
    assert scores is not None
    return RetrievalScores(scores, np.asarray(gallery.text_video), v2t_scores)


def _columns(names: Sequence[str], gallery: NamedGallery) -> np.ndarray:
    """[Nv], the column of each of the gallery's videos."""
    column = columns_of(as_ids(names))
    found = [column.get(video, column.get(without_suffix(video))) for video in as_ids(gallery.video_ids)]
    if None in found:
        raise UserError(f"no column is named {gallery.video_ids[found.index(None)]!r}, as a video of the run is")
    return np.array(found)


def _rows(rows: Sequence[str], gallery: NamedGallery) -> np.ndarray | None:
    """[Nt], the row of each of the gallery's texts; None where they are in its order."""
    texts = as_ids(gallery.text_ids)
    place = {name: row for row, name in enumerate(rows)}
    if len(place) == len(rows) and place.keys() == set(texts):
        return np.array([place[text] for text in texts])
    videos = columns_of(as_ids(gallery.video_ids))
    columns = [find_column(videos, row) for row in rows]
    owners = [column for column in columns if column is not None]
    if len(owners) < len(rows):
        row = columns.index(None)
        raise UserError(f"row {row} is named {rows[row]!r}, which is the id of no caption and no video of the run")
    if owners == list(gallery.text_video):
        return None
    if sorted(owners) == sorted(set(owners)) == sorted(gallery.text_video):
        return np.array([owners.index(video) for video in gallery.text_video])
    row = next(i for i, (one, other) in enumerate(zip(owners, gallery.text_video, strict=True)) if one != other)
    raise UserError(
        f"row {row} is named {rows[row]!r}, the run's text {row} is {texts[row]!r}: name each row by the id of its "
        "caption"
    )


def _counted(names: Sequence[str]) -> bool:
    """Whether names only count from 0, as pandas has them where there are none."""
    return list(map(str, names)) == [str(i) for i in range(len(names))]
