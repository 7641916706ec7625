"""Search: pooled vectors first, then the model's head on the stored frame features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.data.records import example_id
from eaglenet_jax.data.transforms import resize_and_crop
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.scoring.host import to_host
from eaglenet_jax.search.confidence import Probe
from eaglenet_jax.search.model import SearchModel, mean_of_frames, unit
from eaglenet_jax.search.moments import Moment, by_cosines, by_weights, merge_overlapping
from eaglenet_jax.search.previews import as_webp
from eaglenet_jax.search.rows import StoredWindow, StoreSettings
from eaglenet_jax.search.video_reader import VideoReader

MOST_PICTURES = 256  # that are encoded of a video given as a query


@dataclasses.dataclass(frozen=True)
class Query:
    """An encoded query.

    Attributes:
        vector: [d], unit length.
        text: Its text features, None for a picture or video.
        picture: Small WebP of the picture, or of the video's middle, as the model sees it; empty for a sentence.
    """

    vector: np.ndarray
    text: TextFeatures | None = None
    picture: bytes = b""


def text_query(model: SearchModel, text: str) -> Query:
    """Encode a sentence.

    Raises:
        UserError: It has no words.
    """
    features = model.encode_query(text)
    return Query(unit(np.asarray(features.pooled[0])), features)


def video_query(model: SearchModel, file: Path) -> Query:
    """Encode a whole video as one window.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with VideoReader(file) as video:
            fps = min(model.fps, MOST_PICTURES / video.announced) if video.announced else model.fps
            pictures = [resize_and_crop(whole, model.size) for _, whole in video.sampled(fps)]
    except (DecodeError, OSError, av.error.FFmpegError) as error:
        raise UserError(f"the query {file} cannot be read as a video: {error}") from error
    return _of_pictures(model, pictures)


def image_query(model: SearchModel, file: Path) -> Query:
    """Encode a picture as a video of one frame.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with Image.open(file) as image:
            picture = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError as error:
        raise UserError(f"the query {file} is not a readable picture; give a JPEG or PNG file") from error
    except OSError as error:
        raise UserError(f"the query {file} cannot be read: {error.strerror or error}") from error
    except (Image.DecompressionBombError, SyntaxError, ValueError) as error:  # Pillow's errors for damaged files
        raise UserError(f"the query {file} cannot be read as a picture: {error}") from error
    return _of_pictures(model, [resize_and_crop(picture, model.size)])


def _of_pictures(model: SearchModel, pictures: Sequence[np.ndarray]) -> Query:
    frames, picked = model.window_frames(pictures)
    features = to_host(model.encode_windows(frames[None], [len(picked)]))
    middle = as_webp(Image.fromarray(pictures[len(pictures) // 2]))
    return Query(mean_of_frames(features.frames, features.mask)[0], picture=middle)


class Rows(Protocol):
    """Rows that a query is compared with: those of a `Store`, or the part of them whose files are there."""

    settings: StoreSettings

    def nearest(self, vector: np.ndarray, limit: int, frames: bool = False) -> list[StoredWindow]:
        """Return the nearest rows, best first."""
        ...


def find(
    store: Rows, model: SearchModel, query: Query, *, top: int, rerank: int = 0, merge: bool = True
) -> list[Moment]:
    """Find the best moments for a query.

    Args:
        store: Rows of the index.
        model: Its model.
        query: The encoded query.
        top: Most moments to return.
        rerank: Number of candidates that the head rescores; 0 for none.
        merge: Cut each window to the frames that count, and merge those that overlap a better one.

    Raises:
        UserError: `top` is below 1, `rerank` is negative, or reranking is impossible because the query is a picture or
            video, or because the head needs more than frame features.
    """
    if top < 1 or rerank < 0:
        raise UserError(f"top={top}, rerank={rerank}: give 1 or more, and 0 or more")
    if rerank and query.text is None:
        raise UserError("reranking compares a sentence with videos; search by a picture or video without it (rerank=0)")
    if rerank and not model.reranks:
        raise UserError(
            f"{type(model.system.head).__name__} needs patches or other features that an index does not store; search "
            "without reranking (rerank=0)"
        )
    wanted = top * (store.settings.rule.overlapping if merge else 1)
    found = store.nearest(query.vector, max(wanted, rerank), frames=bool(rerank) or merge)
    moments = [_moment(window, window.score, query if merge else None) for window in found]
    if rerank and query.text is not None and found:
        scores, weights = model.score_windows(query.text, _features(model, found[:rerank]))
        best = []
        for row, moment in enumerate(moments[:rerank]):
            moment = dataclasses.replace(moment, score=float(scores[row]), reranked=True)
            if weights is not None:
                shares = tuple(map(float, weights[row, : len(moment.times)]))
                moment = dataclasses.replace(moment, weights=shares)
                moment = by_weights(moment, found[row].start, found[row].end) if merge else moment
            best.append(moment)
        moments = sorted(best, key=lambda moment: -moment.score) + moments[rerank:]
    if merge:
        moments = merge_overlapping(moments)
    return [dataclasses.replace(moment, rank=rank) for rank, moment in enumerate(moments[:top], start=1)]


def probe(store: Rows, model: SearchModel, text: str, rerank: int) -> Probe | None:
    """Return the best scores of a sentence; None if there are no rows.

    Args:
        store: Rows of the index.
        model: Its model.
        text: The sentence.
        rerank: Number of candidates that the head scores; 0 for none.
    """
    query = text_query(model, text)
    found = store.nearest(query.vector, max(1, rerank), frames=bool(rerank))
    if not found or query.text is None:
        return None
    if not rerank:
        return Probe(found[0].score, None, found[0].path)
    scores, _ = model.score_windows(query.text, _features(model, found))
    return Probe(found[0].score, float(scores.max()), found[int(scores.argmax())].path)


def _moment(window: StoredWindow, score: float, cut_for: Query | None) -> Moment:
    """Return a window as a moment; cut to the frames that are nearest to a query if one is given."""
    moment = Moment(
        rank=0,
        score=score,
        reranked=False,
        id=window.id,
        path=window.path,
        start=window.start,
        end=window.end,
        thumbnail=window.thumbnail,
        times=window.times,
    )
    return moment if cut_for is None else by_cosines(moment, unit(np.asarray(window.frames)) @ cut_for.vector)


def _features(model: SearchModel, windows: Sequence[StoredWindow]) -> VideoFeatures:
    """Return stored frame features as the head's input."""
    frames = np.stack([np.asarray(window.frames, np.float32) for window in windows])
    counts = np.array([len(window.times) for window in windows])
    ids = np.array([example_id(window.id) for window in windows], np.uint32)
    return VideoFeatures(ids, frames, None, np.arange(model.system.max_frames) < counts[:, None])
