"""Writing of report.html, the page of a score matrix: table with intervals, charts, and single queries."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import RetrievalPlacement
from eaglenet_jax.metrics.score_report import ScoreReport
from eaglenet_jax.metrics.significance import paired_test
from eaglenet_jax.reports.charts import (
    chance_series,
    rank_histogram,
    recall_chart,
    recall_series,
    value_histogram,
)
from eaglenet_jax.reports.notable_queries import (
    BEST_VIDEOS,
    Gallery,
    Query,
    VideoQuery,
    answered,
    captions_found,
    duplicates,
    hardest,
    moved_most,
    rank_name,
    spread,
)
from eaglenet_jax.reports.page_picture import PagePicture
from eaglenet_jax.reports.score_text import (
    ARROWS,
    POINTING,
    extra_rows,
    ranking_lines,
    shows_pointing,
    temperature_lines,
)
from eaglenet_jax.reports.template import render
from eaglenet_jax.reports.verdicts import opening, verdict

COLUMNS = ("R@1", "R@5", "R@10", "R@50", "Rsum", "MdR", "MnR", "MRR")
SHOWN, SHOWN_VIDEOS, HARDEST, MOVED, DUPLICATES = 6, 4, 8, 8, 30
MOST_COLUMNS = 12  # frames in one line of a strip


@dataclass(frozen=True)
class Context:
    """The texts of a report.

    Attributes:
        title: Of the page.
        before: (name, metrics) of table rows above the scores' own.
        after: (name, metrics) of table rows below it.
        notes: Sentences above the table.
        facts: (name, value), as config and checkpoint.
        picture: Below the first sentence; None for none.
        others: (name of a row in `before`, ranks) of other systems on the same queries: they get a curve, and a
            sentence on whether the scores differ from theirs.
    """

    title: str
    before: Sequence[tuple[str, Mapping[str, Any]]] = ()
    after: Sequence[tuple[str, Mapping[str, Any]]] = ()
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    picture: PagePicture | None = None
    others: Sequence[tuple[str, RetrievalPlacement]] = ()


def write_score_page(file: str | Path, report: ScoreReport, context: Context, gallery: Gallery | None = None) -> Path:
    """Write report.html, complete or not at all.

    Args:
        file: Path of the page.
        report: Result of `measure_scores`.
        context: Title, notes, facts and further rows.
        gallery: Names of rows and columns. None: their numbers.

    Returns:
        The path.

    Raises:
        UserError: If the file cannot be written, or the gallery does not fit the scores.
    """
    page = score_page(report, context, gallery)
    file = Path(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page.encode())
    except OSError as error:
        raise UserError(f"cannot write the report {file}: {error.strerror or error}; give another --report") from error
    return file


def score_page(report: ScoreReport, context: Context, gallery: Gallery | None = None) -> str:
    """Render the page as a string, see `write_score_page`."""
    summary, scores = report.summary, report.scores
    ties = summary["ties"]
    text_video = report.placement.text_video[: scores.shape[0]]  # lost queries stand behind
    gallery = gallery or Gallery.numbered(scores.shape, None, None)
    if (len(gallery.captions), len(gallery.videos)) != scores.shape:
        raise UserError(
            f"{len(gallery.captions)} captions and {len(gallery.videos)} videos for scores of {scores.shape[0]} × "
            f"{scores.shape[1]}"
        )
    runs = [(summary["name"], report.placement)]
    if report.baseline is not None:
        runs.append((summary["baseline"]["name"], report.baseline))
    ranks = report.placement.t2v.ranks(ties)[: len(gallery.captions)]

    plain = dataclasses.replace(gallery, explain=None)
    before = None if report.baseline is None else report.baseline.t2v.ranks(ties)[: len(ranks)]

    def shown(rows: Sequence[int], explain: bool = False) -> list[Query]:
        queries = answered(rows, scores, report.right_videos, ranks, gallery if explain else plain)
        if not explain or before is None or report.baseline_scores is None:
            return queries
        others = answered(rows, report.baseline_scores, report.right_videos, before, plain)
        return [dataclasses.replace(query, other=other) for query, other in zip(queries, others, strict=True)]

    moved = None
    if before is not None:
        moved = [
            [(gallery.captions[row], rank_name(before[row]), rank_name(ranks[row])) for row in rows]
            for rows in moved_most(ranks, before, MOVED)
        ]
    shown_queries = shown(spread(len(gallery.captions), SHOWN), explain=True)
    explained = [video.explained for query in shown_queries for video in query.found if video.explained]
    rows = _named_rows(summary, context)
    columns = {"t2v": (*COLUMNS, *((POINTING,) if shows_pointing(rows) else ())), "v2t": COLUMNS}
    twice = duplicates(gallery.captions, text_video, ranks, gallery.videos) if gallery.captioned else []
    return render(
        "score_page.html",
        context=context,
        summary=summary,
        arrows=ARROWS,
        opening=opening(summary),
        verdicts=_verdicts(report, context),
        notes=[*context.notes, *summary["notes"], *(f"Warning: {warning}" for warning in summary["warnings"])],
        temperatures=[*ranking_lines(summary), *temperature_lines(summary)],
        columns=columns,
        rows=[_row(summary, columns, *row) for row in rows],
        pointing_captions=summary["metrics"]["t2v"].get("pointing_captions", 0) if POINTING in columns["t2v"] else 0,
        charts=[_charts(side, arrow, [*runs, *context.others], summary) for side, arrow in ARROWS.items()],
        names=[name for name, _ in runs],
        radii=_radii(gallery),
        moved=moved,
        shown=shown_queries,
        said={
            "candidates": any(each.candidates for each in explained),
            "energy": _lowest_energies(shown_queries),
            "words": any(each.words for each in explained),
            "attended": any(each.attended for each in explained),
        },
        columns_of_frames=min(MOST_COLUMNS, max((len(each.frames) for each in explained), default=6)),
        has_frames=gallery.frames_of is not None,
        explains=gallery.explain is not None,
        asked_videos=_videos(report, gallery) if gallery.captioned else [],
        hardest=shown(hardest(ranks, HARDEST)),
        duplicates=twice[:DUPLICATES],
        duplicate_count=len(twice),
        captioned=gallery.captioned,
        several_right=report.relevance is not None,
        shown_best=BEST_VIDEOS,
    )


def _videos(report: ScoreReport, gallery: Gallery) -> list[VideoQuery]:
    """Some videos with the captions found for them, by the other run as well where there is one."""
    asked = report.placement.videos
    asked = asked[asked < report.scores.shape[1]]  # lost videos stand behind
    chosen = spread(len(asked), SHOWN_VIDEOS)

    def found(placement: RetrievalPlacement, scores: np.ndarray | None, gallery: Gallery) -> list[VideoQuery]:
        ranks = placement.v2t.ranks(report.summary["ties"])
        videos = {int(asked[row]): float(ranks[row]) for row in chosen}
        return captions_found(videos, report.scores if scores is None else scores, report.right_texts, gallery)

    queries = found(report.placement, report.v2t_scores, gallery)
    if report.baseline is None or report.baseline_v2t_scores is None:
        return queries
    others = found(report.baseline, report.baseline_v2t_scores, dataclasses.replace(gallery, frames_of=None))
    return [dataclasses.replace(query, other=other) for query, other in zip(queries, others, strict=True)]


def scores_hash(scores: np.ndarray) -> str:
    """Compute ten hexadecimal digits that identify the scores."""
    digest = hashlib.blake2b(digest_size=5)
    for start in range(0, len(scores), 256):  # never a second copy of a large matrix
        digest.update(scores[start : start + 256].tobytes())
    return digest.hexdigest()


def _verdicts(report: ScoreReport, context: Context) -> list[str]:
    """Say for each other system whether the scores differ from its."""
    summary = report.summary
    differences = [(name, paired_test(report.placement, ranks, summary["ties"])) for name, ranks in context.others]
    if "baseline" in summary:
        differences.append((summary["baseline"]["name"], summary["baseline"]["difference"]))
    return [said for name, difference in differences if (said := verdict(summary["name"], name, difference))]


def _lowest_energies(queries: Sequence[Query]) -> tuple[int, int] | None:
    """(queries whose right video has the lowest energy of those shown, queries); None without energies."""
    found = []
    for query in queries:
        explained = [(video.right, video.explained.energy) for video in query.found if video.explained]
        right = [energy for is_right, energy in explained if is_right and energy is not None]
        wrong = [energy for is_right, energy in explained if not is_right and energy is not None]
        if right and wrong:
            found.append(min(right) < min(wrong))
    return (sum(found), len(found)) if found else None


def _named_rows(summary: Mapping[str, Any], context: Context) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, metrics) of the rows of the table; those of the scores themselves are `summary["metrics"]`."""
    rows = [("chance", summary["chance"]), *context.before]
    if "baseline" in summary:
        rows.append((summary["baseline"]["name"], summary["baseline"]["metrics"]))
    return [*rows, (summary["name"], summary["metrics"]), *context.after, *extra_rows(summary)]


def _left_out(metrics: Mapping[str, Any]) -> dict[str, None]:
    return dict.fromkeys(name for name, value in metrics.items() if value is None)


def _row(
    summary: Mapping[str, Any], columns: Mapping[str, Sequence[str]], name: str, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    own = metrics is summary["metrics"]
    # What a small gallery leaves out of the scores' own row says nothing in any other row either.
    metrics = {**metrics, **{side: metrics.get(side, {}) | _left_out(summary["metrics"][side]) for side in ARROWS}}
    metrics |= _left_out(summary["metrics"])
    return {
        "name": name,
        "own": own,
        "cells": {
            side: [_number(metrics.get(side, {}).get(column), column) for column in columns[side]] for side in ARROWS
        },
        "rsum": _number(metrics.get("Rsum"), "Rsum"),
        "rsum_interval": _interval(summary["intervals"].get("Rsum"), "Rsum") if own else "",
        "intervals": {
            side: [_interval(summary["intervals"][side].get(column), column) for column in columns[side]]
            for side in ARROWS
        }
        if own
        else None,
    }


def _radii(gallery: Gallery) -> tuple[Markup, str] | None:
    """The chart of the radii and the line below it."""
    if gallery.radii is None:
        return None
    series = list(zip(("pairs that belong together", "other pairs"), gallery.radii, strict=True))
    said = ", ".join(f"{name}: mean {values.mean():.1f} over {len(values):,}" for name, values in series)
    return value_histogram(series, "|R|₁", f"Length of the radius. {said}"), said


def _number(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if column == "MnR" and value < 100 else f"{value:.1f}"


def _interval(interval: Sequence[float] | None, column: str) -> str:
    if interval is None:
        return ""
    return f"{_number(interval[0], column)} – {_number(interval[1], column)}"


def _charts(side: str, arrow: str, runs: Sequence[tuple[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the curves of all runs and of chance, and the ranks of the runs whose scores are shown."""
    ranks = [(name, getattr(placement, side).ranks(summary["ties"])) for name, placement in runs]
    deepest = min(50, max(2, int(max(each.max() for _, each in ranks))))
    curves = [recall_series(name, each, deepest) for name, each in ranks]
    curves = [dataclasses.replace(curve, mark=f"series{place}") for place, curve in enumerate(curves)]
    by_chance = chance_series(summary["chance"].get(side, {}), deepest)
    shown = ranks[: 2 if "baseline" in summary else 1]
    said = "; ".join(f"{name}: R@1 {100 * np.mean(each < 2):.1f} %" for name, each in ranks)
    return {
        "title": arrow,
        "recall": recall_chart([*curves, *([by_chance] if by_chance else [])], f"R@K {arrow}. {said}"),
        "keys": [(each.mark, each.name) for each in (*curves, *([by_chance] if by_chance else []))],
        "histogram": rank_histogram(shown, f"Ranks of the right items, {arrow}. {said}"),
    }
