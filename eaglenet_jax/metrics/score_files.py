"""Reading of score matrices and relevance that any program wrote. Pickled objects are never opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import RetrievalScores
from eaglenet_jax.metrics.saved_scores import IDS, load_scores

NPY_MAGIC = b"\x93NUMPY"


def load_similarity(path: str | Path) -> np.ndarray:
    """Open a score matrix of a .npy file.

    Args:
        path: Of the file.

    Returns:
        [Nt, Nv] real numbers, mapped from the file, not copied.

    Raises:
        UserError: If there is no such file, if it is not a .npy file of a matrix of real numbers, or if it holds
            pickled objects.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(NPY_MAGIC))
        if start != NPY_MAGIC:
            raise UserError(f"{path} is not a .npy file: write the matrix (texts × videos) with numpy.save")
        scores = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read scores from {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, OverflowError, TypeError) as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise UserError(
                f"{path} holds Python objects, which are not opened: save a plain array of numbers"
            ) from error
        raise UserError(f"{path} is damaged or cut short ({error}): write it again with numpy.save") from error
    if scores.ndim != 2 or 0 in scores.shape or scores.dtype.kind not in "fiu":
        raise UserError(f"{path} has shape {scores.shape} and type {scores.dtype}: expected a matrix of numbers")
    return scores


def read_scores(path: str | Path) -> RetrievalScores:
    """Open the scores of a .npy file, or of a folder that `evaluate --save` wrote.

    Args:
        path: Of the file or folder.

    Returns:
        The scores; relevance and video→text scores only from a folder.

    Raises:
        UserError: If it is neither, or damaged.
    """
    if Path(path).is_dir() and (Path(path) / IDS).exists():
        saved = load_scores(path)
        return RetrievalScores(saved.scores, saved.text_video, saved.v2t_scores)
    return RetrievalScores(load_similarity(path))


def read_list(path: str | Path) -> list[Any]:
    """Read the entries of a JSON list or one-dimensional .npy array, or the lines of a text file in UTF-8.

    Args:
        path: Of the file; .json and .npy are told by the suffix, any other is text.

    Returns:
        The entries in order.

    Raises:
        UserError: If the file cannot be read, or is no such list.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.ndim != 1:
                raise UserError(f"{path} has shape {array.shape}: expected a list")
            return array.tolist()
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            # Not splitlines: a caption may hold one of the rarer characters that it takes for the end of a line.
            return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
        entries = json.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is not a JSON list, a .npy list or UTF-8 lines of text: {error}") from error
    if not isinstance(entries, list):
        raise UserError(f"{path} holds a JSON {type(entries).__name__}: expected a list")
    return entries


def relevance_from_captions(captions_per_video: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Derive relevance from caption counts, for texts in the order of their videos.

    Args:
        captions_per_video: One number for all videos ("20"), a number for each ("1,4,3"), or a file of them
            (`read_list`).
        shape: Of the scores, (Nt, Nv).

    Returns:
        text_video [Nt], the column of each text's video.

    Raises:
        UserError: If the counts are not whole numbers, or do not sum to Nt over Nv videos.
    """
    given = str(captions_per_video)
    inline = all(part.strip().isdigit() for part in given.split(","))
    entries = given.split(",") if inline else read_list(given)
    try:
        counts = [int(entry) for entry in entries]
    except (TypeError, ValueError) as error:
        raise UserError(f"captions per video: {given} holds something that is not a whole number: {error}") from error
    if inline and len(counts) == 1:
        counts *= shape[1]
    if len(counts) != shape[1]:
        raise UserError(f"captions per video: {len(counts)} counts for {shape[1]} videos (columns): give one for each")
    if min(counts) < 0 or sum(counts) != shape[0]:
        raise UserError(f"captions per video: they sum to {sum(counts)}, but the scores have {shape[0]} texts (rows)")
    return np.repeat(np.arange(shape[1]), counts)


def relevance_from_ids(text_ids: Sequence[Any], video_ids: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """Derive relevance from the ids of rows and columns.

    Args:
        text_ids: Nt ids, each the id of the text's video, or that followed by # and anything ("video7020#3").
        video_ids: Nv ids, each of them once.
        shape: Of the scores, (Nt, Nv).

    Returns:
        text_video [Nt], the column of each text's video.

    Raises:
        UserError: If the counts do not fit the shape, a video's id occurs twice, or a text names no video.
    """
    texts, videos = [str(i) for i in text_ids], [str(i) for i in video_ids]
    if (len(texts), len(videos)) != shape:
        raise UserError(f"{len(texts)} text ids and {len(videos)} video ids for scores of {shape[0]} × {shape[1]}")
    column = {video: i for i, video in enumerate(videos)}
    if len(column) != len(videos):
        twice = next(video for i, video in enumerate(videos) if column[video] != i)
        raise UserError(f"video id {twice!r} occurs twice: every column needs its own")
    text_video = []
    for row, text in enumerate(texts):
        owner = text if text in column else text.rpartition("#")[0]
        if owner not in column:
            raise UserError(
                f"text id {text!r} (row {row}) names no video: write the id of its video, or that followed by #number"
            )
        text_video.append(column[owner])
    return np.asarray(text_video, np.int64)
