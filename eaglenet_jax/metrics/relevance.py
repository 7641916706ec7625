"""Several right videos for a text: reading of pairs, places of the best right one, average precision and nDCG."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.id_files import as_ids, columns_of, find_column, without_suffix
from eaglenet_jax.metrics.ranks import (
    CHUNK_ELEMENTS,
    RECALL_DEPTHS,
    TIE_SHARE,
    Metrics,
    Placement,
    Relevance,
    RetrievalPlacement,
    direction_sum,
)
from eaglenet_jax.metrics.text_files import delimiter_of, read_text
from eaglenet_jax.wording import caption_key


def shared_captions(captions: Sequence[str], text_video: np.ndarray) -> Relevance:
    """Make a caption that several videos have right for each of them.

    Args:
        captions: Nt captions; case and white space make no difference.
        text_video: [Nt], the video of each text.

    Returns:
        The pairs, all of grade 1.
    """
    owners: dict[str, dict[int, None]] = {}
    keys = [caption_key(str(caption)) for caption in captions]
    for key, video in zip(keys, text_video.tolist(), strict=True):
        owners.setdefault(key, {})[video] = None
    pairs = [(row, video) for row, key in enumerate(keys) for video in owners[key]]
    rows, columns = np.array(pairs, np.int64).T
    return Relevance(rows, columns, np.ones(len(rows)), np.asarray(text_video, np.int64))


def read_relevance(
    path: str | Path, shape: tuple[int, int], text_ids: Sequence[Any] | None, video_ids: Sequence[Any] | None
) -> tuple[Relevance, np.ndarray]:
    """Read which videos are right for which texts.

    Args:
        path: Of a file with a pair a line, `text video`, a grade behind it where there is one, or TREC's qrels,
            `text 0 video grade`; with tabs, semicolons, commas or white space between. Or a .npy array of such rows, or
            JSON, text → video, list of videos or video → grade. A pair of grade 0 or less is not right.
        shape: Of the scores, (Nt, Nv).
        text_ids: Nt ids of the texts. None: their rows, from 0.
        video_ids: Nv ids of the videos. None: their columns, from 0.

    Returns:
        The pairs, and [Nt] bool, which texts have a right video; the pairs count only these texts.

    Raises:
        UserError: If the file cannot be read, names an unknown text or video, or has no right pair.
    """
    lines = _lines(Path(path))
    texts = _numbers(text_ids, shape[0], "text", path)
    videos = columns_of(as_ids(video_ids)) if video_ids is not None else {str(i): i for i in range(shape[1])}
    if video_ids is not None and len(video_ids) != shape[1]:
        raise UserError(f"{len(video_ids)} video ids for scores of {shape[0]} × {shape[1]}")
    grades: dict[tuple[int, int], float] = {}
    for number, text, video, grade in lines:
        row, column = texts.get(text, texts.get(without_suffix(text))), find_column(videos, video)
        if row is None or column is None:
            if number == 1 and row is None and column is None and Path(path).suffix != ".json":  # a header
                continue
            kind, name = ("text", text) if row is None else ("video", video)
            raise UserError(
                f"{path}: {kind} {name!r} (pair {number}) is not among the {kind} ids"
                + ("" if (text_ids if row is None else video_ids) is not None else f"; give --{kind}-ids=FILE")
            )
        grades[row, column] = max(grade, grades.get((row, column), 0.0))
    pairs = sorted(pair for pair, grade in grades.items() if grade > 0)
    if not pairs:
        raise UserError(f"{path} has no right pair: expected lines of text, video and perhaps a grade above 0")
    answered = np.zeros(shape[0], bool)
    rows, columns = np.array(pairs, np.int64).T
    answered[rows] = True
    first = np.searchsorted(rows, np.flatnonzero(answered))
    new = np.cumsum(answered) - 1
    values = np.array([grades[pair] for pair in pairs])
    return Relevance(new[rows], columns, values, columns[first]), answered


def place_relevant(
    scores: np.ndarray, relevance: Relevance, *, v2t_among: str = "videos", v2t_scores: np.ndarray | None = None
) -> RetrievalPlacement:
    """Place the best right item of every query among the items that are not right, in both directions.

    Args:
        scores: [Nt, Nv], finite.
        relevance: Of these texts and videos; every text has a right video.
        v2t_among: "videos" places a video's best caption among the best captions of the other videos, by the video that
            a text counts to; "captions" among all captions.
        v2t_scores: [Nt, Nv] to rank texts by, where they are not `scores`.

    Returns:
        The places; a video without a right text is no query.
    """
    by_video = scores if v2t_scores is None else v2t_scores
    videos = np.unique(relevance.columns)
    owners = relevance.text_video if v2t_among == "videos" else np.arange(scores.shape[0])
    order = np.argsort(owners, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(owners[order]) != 0])
    t2v = _placed(scores, relevance.rows, relevance.columns, np.arange(scores.shape[0]))
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    turned = np.asarray(by_video)[order].T
    v2t = _placed(turned, relevance.columns, position[relevance.rows], videos, starts)
    return RetrievalPlacement(t2v, v2t, relevance.text_video, videos)


def ranking_quality(
    scores: np.ndarray, relevance: Relevance, ties: str = "mean", v2t_scores: np.ndarray | None = None
) -> dict[str, Metrics]:
    """Compute MAP and nDCG of both directions, in percent.

    A query's average precision is the mean over its right items of k / place of the k-th one (TREC's map); nDCG has the
    gain grade / log2(1 + place) over that of the best order (TREC's ndcg, over the whole gallery). Of equal scores, the
    right item stands before, in the middle of or behind the wrong ones, by the tie rule.

    Args:
        scores: [Nt, Nv], finite.
        relevance: Of these texts and videos.
        ties: "mean", "optimistic" or "pessimistic".
        v2t_scores: [Nt, Nv] to rank texts by, where they are not `scores`.

    Returns:
        {"t2v": {"MAP", "nDCG"}, "v2t": …}.
    """
    share = TIE_SHARE[ties]
    sides = {
        "t2v": (scores, relevance.rows, relevance.columns),
        "v2t": ((scores if v2t_scores is None else v2t_scores).T, relevance.columns, relevance.rows),
    }
    found: dict[str, Metrics] = {}
    for side, parts in sides.items():
        precision, gain = np.mean(list(_qualities(*parts, relevance.grades, share)), axis=0)
        found[side] = {"MAP": float(precision), "nDCG": float(gain)}
    return found


def relevant_chance(relevance: Relevance, shape: tuple[int, int], v2t_among: str) -> dict[str, Metrics]:
    """Compute the expected metrics of random scores; of videos only where they are placed among all captions."""
    found = {"t2v": _chance(np.bincount(relevance.rows), shape[1])}
    if v2t_among == "captions":
        counts = np.bincount(relevance.columns)
        found["v2t"] = _chance(counts[counts > 0], shape[0])
    return found


def _numbers(ids: Sequence[Any] | None, count: int, kind: str, path: str | Path) -> dict[str, int]:
    if ids is None:
        return {str(i): i for i in range(count)}
    names = as_ids(ids)
    if len(names) != count:
        raise UserError(f"{len(names)} {kind} ids for {count} {kind}s of the scores")
    numbers = {name: i for i, name in enumerate(names)}
    if len(numbers) != count:
        twice = next(name for i, name in enumerate(names) if numbers[name] != i)
        raise UserError(f"{kind} id {twice!r} occurs twice: {path} cannot say which of them it means")
    return numbers


def _lines(path: Path) -> list[tuple[int, str, str, float]]:
    """(number of the line, text, video, grade) of each pair of a file, in JSON the number of the pair."""
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            rows = list(enumerate((as_ids(row) for row in np.atleast_2d(array).tolist()), 1))
        else:
            content = read_text(path)
            if path.suffix == ".json":
                return [(number, *pair) for number, pair in enumerate(_of_json(json.loads(content)), 1)]
            rows = list(_fields(content))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError) as error:
        raise UserError(
            f"{path} is not JSON of text → videos, nor UTF-8 lines of pairs, nor a .npy array of them: {error}"
        ) from error
    found = []
    for number, parts in rows:
        if len(parts) not in (2, 3, 4):
            raise UserError(f"{path}: line {number} has {len(parts)} fields: write text, video and perhaps a grade")
        text, video = (parts[0], parts[2]) if len(parts) == 4 else (parts[0], parts[1])
        try:
            grade = float(parts[-1]) if len(parts) > 2 else 1.0
        except ValueError as error:
            if number > 1:
                raise UserError(f"{path}: the grade in line {number} is {parts[-1]!r}: write a number") from error
            continue  # a header
        found.append((number, text, video, grade))
    for number, _, _, grade in found:
        if not math.isfinite(grade):
            raise UserError(f"{path}: the grade in line {number} is {grade}: write a number")
    return found


def _fields(content: str) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of the lines that are not blank; the first of them says what stands between the fields."""
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    delimiter = delimiter_of(lines[0][1]) if lines else ""
    for number, line in lines:
        yield number, as_ids(next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split())


def _of_json(content: Any) -> Iterator[tuple[str, str, float]]:
    if isinstance(content, Mapping):
        for text, videos in content.items():
            alone = isinstance(videos, str | int)
            graded = (
                videos.items() if isinstance(videos, Mapping) else ((v, 1.0) for v in ([videos] if alone else videos))
            )
            yield from ((*as_ids([text, video]), float(grade)) for video, grade in graded)  # type: ignore[misc]
    else:
        for pair in content:
            if isinstance(pair, Mapping):
                raise TypeError(f"a pair is {str(pair)[:60]}, no list [text, video]")
            text, video, *grade = pair
            yield (*as_ids([text, video]), float(grade[0]) if grade else 1.0)  # type: ignore[misc]


def _placed(
    scores: np.ndarray,
    queries: np.ndarray,
    items: np.ndarray,
    asked: np.ndarray,
    groups: np.ndarray | None = None,
) -> Placement:
    """Places of the best right item. scores: [queries, items]; groups: where each group of rivals starts."""
    greater, tied = np.empty(len(asked), np.int64), np.empty(len(asked), np.int64)
    step = max(1, CHUNK_ELEMENTS // scores.shape[1])
    for start in range(0, len(asked), step):
        rows = asked[start : start + step]
        block = np.asarray(scores[rows], np.float64)
        if not np.isfinite(block).all():
            raise UserError("a score is not finite: every score must be, so find out where it came from")
        right = np.zeros(block.shape, bool)
        inside = np.isin(queries, rows)
        right[np.searchsorted(rows, queries[inside]), items[inside]] = True
        best = np.where(right, block, -np.inf).max(axis=1, keepdims=True)
        rivals = np.where(right, -np.inf, block)
        if groups is not None:
            rivals = np.maximum.reduceat(rivals, groups, axis=1)
        greater[start : start + step] = np.count_nonzero(rivals > best, axis=1)
        tied[start : start + step] = np.count_nonzero(rivals == best, axis=1)
    return Placement(greater, tied)


def _qualities(
    scores: np.ndarray, queries: np.ndarray, items: np.ndarray, grades: np.ndarray, share: float
) -> Iterator[tuple[float, float]]:
    """(average precision, nDCG) of each query, in percent."""
    order = np.argsort(queries, kind="stable")
    queries, items, grades = queries[order], items[order], grades[order]
    for part in np.split(np.arange(len(queries)), np.flatnonzero(np.diff(queries)) + 1):
        row = np.asarray(scores[queries[part[0]]], np.float64)
        best_first = part[np.lexsort((-grades[part], -row[items[part]]))]
        right = row[items[best_first]]
        wrong = np.sort(np.delete(row, items[part]))
        above = len(wrong) - np.searchsorted(wrong, right, side="right")
        equal = len(wrong) - np.searchsorted(wrong, right, side="left") - above
        numbers = np.arange(1, len(right) + 1)
        places = numbers + above + share * equal
        gains, ideal = grades[best_first], np.sort(grades[part])[::-1]
        best = (ideal / np.log2(1 + numbers)).sum()
        yield 100 * float(np.mean(numbers / places)), 100 * float((gains / np.log2(1 + places)).sum() / best)


def _chance(counts: np.ndarray, gallery: int) -> Metrics:
    """Expected metrics of the best of `counts[i]` right items among `gallery` in random order."""
    sizes, queries = np.unique(counts, return_counts=True)
    weights = queries / queries.sum()
    ranks = np.arange(1, gallery + 1)
    beyond = np.zeros(gallery + 1)  # beyond[k]: the share of queries whose best right item is not among the first k
    for size, weight in zip(sizes, weights, strict=True):
        beyond += weight * np.cumprod(np.r_[1.0, np.clip(gallery - size - ranks + 1, 0, None) / (gallery - ranks + 1)])
    median = int(np.argmax(beyond <= 0.5 + 1e-12))
    recalls = {f"R@{k}": 100 * float(1 - beyond[min(k, gallery)]) for k in RECALL_DEPTHS}
    return recalls | {
        "Rsum": direction_sum(recalls),
        "MdR": median + 0.5 if abs(beyond[median] - 0.5) < 1e-12 else float(median),
        "MnR": float(np.sum(weights * (gallery + 1) / (sizes + 1))),
        "MRR": 100 * float(np.sum(-np.diff(beyond) / ranks)),
        "queries": int(queries.sum()),
    }
