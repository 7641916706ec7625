"""Scores, ids and features of an evaluation in a folder, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures

SCORES, V2T_SCORES, IDS, FEATURES = "scores.npy", "scores_v2t.npy", "ids.json", "features.npz"


@dataclass(frozen=True)
class SavedScores:
    """scores: [Nt, Nv], mapped from the file. text_ids: Nt, video_ids: Nv strings. text_video: [Nt] int64. v2t_scores:
    [Nt, Nv] to rank texts by, where a system that reranks has others.
    """

    scores: np.ndarray
    text_ids: list[str]
    video_ids: list[str]
    text_video: np.ndarray
    v2t_scores: np.ndarray | None = None


def save_scores(
    directory: str | Path,
    scores: np.ndarray,
    text_ids: Sequence[str],
    video_ids: Sequence[str],
    text_video: np.ndarray,
    *,
    v2t_scores: np.ndarray | None = None,
    texts: TextFeatures | None = None,
    videos: VideoFeatures | None = None,
) -> list[Path]:
    """Writes scores.npy, ids.json, scores_v2t.npy if given and, of the features given, features.npz. Returns the paths.

    features.npz: text/id, text/pooled, text/mask, video/id, video/frames, video/mask, as in heads/interface.py (word
    and patch states are left out: they are large and can be made again). Each file is complete or not there. Raises
    UserError if the folder cannot be written to.
    """
    directory = Path(directory)
    ids = {"texts": list(text_ids), "videos": list(video_ids), "text_video": np.asarray(text_video).tolist()}
    if scores.shape != (len(ids["texts"]), len(ids["videos"])):
        raise ValueError(f"scores {scores.shape} for {len(ids['texts'])} texts and {len(ids['videos'])} videos")
    features: dict[str, Any] = {}
    for side, given, names in (("text", texts, ("id", "pooled", "mask")), ("video", videos, ("id", "frames", "mask"))):
        if given is not None:
            features |= {f"{side}/{name}": _plain(getattr(given, name)) for name in names}
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
    """What `save_scores` wrote. Raises UserError if the folder does not hold it."""
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
    """NumPy array in a type that every program can read: bfloat16 as float32."""
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
