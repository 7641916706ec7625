"""The folder that `evaluate --save` writes: scores, ids and features of an evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eaglenet_jax.errors import UserError

SCORES, V2T_SCORES, IDS, FEATURES = "scores.npy", "scores_v2t.npy", "ids.json", "features.npz"


@dataclass(frozen=True)
class SavedScores:
    """Scores of a split with the ids of its texts and videos.

    Attributes:
        scores: [Nt, Nv], texts × videos.
        text_ids: Nt strings.
        video_ids: Nv strings.
        text_video: [Nt] integers, the column of each text's video.
        v2t_scores: [Nt, Nv] to rank texts by, where a system that reranks has others. None: the same scores.
    """

    scores: np.ndarray
    text_ids: Sequence[str]
    video_ids: Sequence[str]
    text_video: np.ndarray
    v2t_scores: np.ndarray | None = None


def save_scores(
    directory: str | Path,
    saved: SavedScores,
    *,
    texts: Mapping[str, Any] | None = None,
    videos: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write scores, ids and features of a split into a folder. Each file is complete or not there.

    Args:
        directory: Of the files; made where it is not there.
        saved: Scores and ids: scores.npy, ids.json and, where they are others, scores_v2t.npy.
        texts: Arrays of the captions by name, [Nt, ...], for features.npz under "text/NAME".
        videos: Arrays of the videos by name, [Nv, ...], for features.npz under "video/NAME".

    Returns:
        The paths of the files.

    Raises:
        UserError: If the folder cannot be written to.
        ValueError: If the ids do not fit the scores.
    """
    directory = Path(directory)
    scores, v2t_scores = saved.scores, saved.v2t_scores
    ids = {
        "texts": list(saved.text_ids),
        "videos": list(saved.video_ids),
        "text_video": np.asarray(saved.text_video).tolist(),
    }
    if scores.shape != (len(ids["texts"]), len(ids["videos"])):
        raise ValueError(f"scores {scores.shape} for {len(ids['texts'])} texts and {len(ids['videos'])} videos")
    features: dict[str, Any] = {
        f"{side}/{name}": _plain(array)
        for side, arrays in (("text", texts), ("video", videos))
        for name, array in (arrays or {}).items()
    }
    writers: dict[str, Callable[[IO[bytes]], Any]] = {
        SCORES: lambda file: np.save(file, _plain(scores)),
        IDS: lambda file: file.write(json.dumps(ids, indent=1, ensure_ascii=False).encode()),
    }
    if v2t_scores is not None:
        writers[V2T_SCORES] = lambda file: np.save(file, _plain(v2t_scores))
    if features:
        writers[FEATURES] = lambda file: np.savez(file, **features)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if v2t_scores is None:
            (directory / V2T_SCORES).unlink(missing_ok=True)  # of another system that was saved here before
        for name, write in writers.items():
            _write_whole(directory / name, write)
    except OSError as error:
        raise UserError(f"cannot save scores to {directory}: {error.strerror or error}") from error
    return [directory / name for name in writers]


def load_scores(directory: str | Path) -> SavedScores:
    """Read the scores and ids that `save_scores` wrote.

    Args:
        directory: Of the files.

    Returns:
        Scores, mapped from the files, and ids.

    Raises:
        UserError: If a file is absent or damaged, or if they do not fit each other.
    """
    directory = Path(directory)
    try:
        ids = json.loads((directory / IDS).read_text(encoding="utf-8"))
        scores = np.load(directory / SCORES, mmap_mode="r", allow_pickle=False)
        v2t = directory / V2T_SCORES
        saved = SavedScores(
            scores,
            list(ids["texts"]),
            list(ids["videos"]),
            np.asarray(ids["text_video"], np.int64),
            np.load(v2t, mmap_mode="r", allow_pickle=False) if v2t.exists() else None,
        )
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise UserError(
            f"{directory} does not hold saved scores ({SCORES} and {IDS}, written by evaluate --save): {error}"
        ) from error
    if saved.v2t_scores is not None and saved.v2t_scores.shape != scores.shape:
        raise UserError(f"{directory}: {V2T_SCORES} has shape {saved.v2t_scores.shape}, {SCORES} {scores.shape}")
    if scores.shape != (len(saved.text_ids), len(saved.video_ids)) or len(saved.text_video) != len(saved.text_ids):
        raise UserError(
            f"{directory}: {SCORES} has shape {scores.shape}, which does not fit {IDS}: save the scores again"
        )
    return saved


def _plain(array: Any) -> np.ndarray:
    """Convert to a NumPy array of a type that every program can read: bfloat16 becomes float32."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array


def _write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
