"""Comparison of systems: mean and deviation of their metrics over seeds, and the numbers of papers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eaglenet_jax.metrics.ranks import SUMMED_RECALLS, direction_sum
from eaglenet_jax.reports.score_text import small_gallery_line, telling
from eaglenet_jax.reports.stage_results import Selection, StageResult

PARTS = {"t2v": "text → video", "v2t": "video → text", "": "both directions"}
OF_DIRECTION = ("R@1", "R@5", "R@10", "MdR", "MnR", "Rsum")
COLUMNS = (*(("t2v", name) for name in OF_DIRECTION), *(("v2t", name) for name in OF_DIRECTION), ("", "Rsum"))
POINTING = ("t2v", "pointing")  # a further column, where a system has it
LOWER_IS_BETTER = ("MdR", "MnR")


@dataclass(frozen=True)
class Cell:
    """A metric of a row.

    mean: of its runs; None where a system does not have it. deviation: None for a single run. claimed: by a paper, as
    printed there.
    """

    mean: float | None
    deviation: float | None
    claimed: str
    best: bool
    digits: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        mean = f"{self.mean:.{self.digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """A system, or further numbers of papers for it.

    cells: one a column. runs: 0 for numbers of a paper. seconds: mean training time. source: of the claimed numbers in
    brackets, or empty.
    """

    label: str
    cells: Sequence[Cell]
    runs: int
    seconds: float
    source: str


@dataclass(frozen=True)
class Part:
    """A table of one direction, or of both together.

    title: The direction. columns: names of its metrics. rows: each with its cells of these columns. with_runs: whether
    the number of runs and their seconds are its last columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[Row, Sequence[Cell]]]
    with_runs: bool


@dataclass(frozen=True)
class Comparison:
    """A comparison of systems.

    columns: (direction, metric) of every cell of a row; the direction is "" for a sum over both. rows: systems in the
    order given. pointing_chance: the share of frames in the parts that captions describe, in percent, where a system's
    pointing accuracy is shown. small_gallery: says which recalls are left out because chance has them at 100.
    data: the queries, for a heading where there are other comparisons; else empty.
    """

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Row]
    pointing_chance: float | None = None
    small_gallery: str = ""
    data: str = ""

    @property
    def parts(self) -> list[Part]:
        """A table for each direction and one for both: all in one would be wider than a page or a terminal.

        A row without a number in a table is left out there.
        """
        found = []
        for direction, title in PARTS.items():
            places = [place for place, (side, _) in enumerate(self.columns) if side == direction]
            rows = [(row, [row.cells[place] for place in places]) for row in self.rows]
            totals = not direction
            kept = [(row, cells) for row, cells in rows if any(map(_has_number, cells)) or (totals and row.runs)]
            if kept:
                found.append(Part(title, [self.columns[place][1] for place in places], kept, with_runs=totals))
        return found

    @property
    def sources(self) -> list[str]:
        """The sources of claimed numbers, each once; of several, each with the rows that it is about."""
        rows: dict[str, list[str]] = {}
        for row in self.rows:
            if row.source:
                rows.setdefault(row.source, []).append(row.label)
        return [f"{source} ({', '.join(labels)})" if len(rows) > 1 else source for source, labels in rows.items()]


def compare(rows: Sequence[tuple[str, Sequence[StageResult]]], split: str, data: str = "") -> Comparison:
    """Compare systems on one split.

    Args:
        rows: (label, results of its seeds), all on the same queries.
        split: Of the metrics.
        data: Names the queries, where there are others.

    Returns:
        The table. Its first rows are CLIP before training, one for each CLIP that the runs started from. The best mean
        of every column is marked where rows differ.
    """
    every = [result for _, results in rows for result in results]
    columns = (*COLUMNS, POINTING) if _values(every, split, *POINTING) else COLUMNS
    means = [[_mean(results, split, *column) for column in columns] for _, results in rows]
    best = [_best(name, [row[place] for row in means]) for place, (_, name) in enumerate(columns)]
    found = _zero_shot_rows(every, split, len(columns))
    for (label, results), values in zip(rows, means, strict=True):
        claim = results[0].claimed if _claim_applies(results[0], split) else {}
        cells = [
            Cell(
                value,
                _deviation(_values(results, split, side, name)),
                f"{_metric(claim, side, name):g}" if _metric(claim, side, name) is not None else "",
                value is not None and value == of_column,
                _digits(name),
            )
            for value, of_column, (side, name) in zip(values, best, columns, strict=True)
        ]
        seconds = statistics.mean(result.seconds for result in results)
        on_test = any(result.selection is Selection.TEST for result in results)
        label = f"{label} (chosen on test)" if on_test else label
        found.append(Row(label, cells, len(results), seconds, claim.get("source", "")))
        found += [_claimed_row(other, columns) for other in claim.get("others", ())]
    by_chance = _values(every, split, "t2v", "pointing_chance") if columns != COLUMNS else []
    small_gallery = small_gallery_line([("chance", every[0].chance.get(split, {}))])
    return Comparison(columns, found, statistics.mean(by_chance) if by_chance else None, small_gallery, data)


def _has_number(cell: Cell) -> bool:
    return cell.mean is not None or bool(cell.claimed)


def _claimed_row(claim: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> Row:
    """A row of a paper's numbers, under the system that they are about."""
    cells = [Cell(_metric(claim, side, name), None, "", False, _digits(name)) for side, name in columns]
    return Row(f"· {claim['source']}", cells, 0, 0.0, "")


def _zero_shot_rows(results: Sequence[StageResult], split: str, width: int) -> list[Row]:
    """One row for each name; a CLIP that several runs started from counts once, random ones have their deviation.

    width: number of cells; those after COLUMNS are empty.
    """
    by_name: dict[str, dict[str, list[float | None]]] = {}
    for result in results:
        if split in result.zero_shot:
            before = telling(result.zero_shot[split], result.chance.get(split, {}))
            values = [_metric(before, side, name) for side, name in COLUMNS]
            by_name.setdefault(result.zero_shot["name"], {})[str(values)] = values
    rows = []
    for name, distinct in by_name.items():
        columns = [list(_known(column)) for column in zip(*distinct.values(), strict=True)]
        cells = [
            Cell(statistics.mean(column) if column else None, _deviation(column), "", False, _digits(metric))
            for column, (_, metric) in zip(columns, COLUMNS, strict=True)
        ]
        cells += [Cell(None, None, "", False, 1)] * (width - len(cells))
        rows.append(Row(name, cells, len(distinct), 0.0, ""))
    return rows


def _claim_applies(result: StageResult, split: str) -> bool:
    """Whether a claim is about this split: the test split, all of it or all but its lost videos."""
    videos = result.gallery[split][1] + result.missing.get(split, [0, 0])[1]
    return split == "test" and videos == result.claimed.get("videos", videos)


def _digits(name: str) -> int:
    return 2 if name == "MnR" else 1


def _values(results: Sequence[StageResult], split: str, side: str, name: str) -> list[float]:
    shown = (telling(result.metrics[split], result.chance.get(split, {})) for result in results)
    values = [_metric(metrics, side, name) for metrics in shown]
    return [value for value in values if value is not None]


def _mean(results: Sequence[StageResult], split: str, side: str, name: str) -> float | None:
    values = _values(results, split, side, name)
    return statistics.mean(values) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None)


def _metric(metrics: Mapping[str, Any], side: str, name: str) -> float | None:
    of_side = metrics.get(side, {}) if side else metrics
    value = of_side.get(name)
    if value is None and side and name == "Rsum" and all(of_side.get(each) is not None for each in SUMMED_RECALLS):
        value = round(direction_sum(of_side), 6)  # papers, and results of earlier versions, have its parts alone
    return None if value is None else float(value)


def _best(name: str, values: Iterable[float | None]) -> float | None:
    """The best value of a column; None where no two rows differ."""
    known = set(_known(values))
    if len(known) < 2:
        return None
    return min(known) if name in LOWER_IS_BETTER else max(known)
