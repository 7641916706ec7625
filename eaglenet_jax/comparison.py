"""Several systems in one table: mean and standard deviation of their metrics over seeds, beside what papers claim."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eaglenet_jax.results import StageResult

COLUMNS = (("t2v", "R@1"), ("t2v", "R@5"), ("t2v", "R@10"), ("t2v", "MnR"), ("v2t", "R@1"), ("", "Rsum"))
LOWER_IS_BETTER = ("MdR", "MnR")


@dataclass(frozen=True)
class Cell:
    """A metric of a row. mean, deviation: of its runs, None for a single run. claimed: by a paper, None without."""

    mean: float
    deviation: float | None
    claimed: float | None
    best: bool
    digits: int

    def __str__(self) -> str:
        mean = f"{self.mean:.{self.digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """A system. cells: one a column. seconds: mean of training time. source: of the claimed numbers, or empty."""

    label: str
    cells: Sequence[Cell]
    runs: int
    seconds: float
    source: str


@dataclass(frozen=True)
class Comparison:
    """columns: titles of the metrics. rows: systems in the order that was given."""

    columns: Sequence[str]
    rows: Sequence[Row]

    @property
    def sources(self) -> list[str]:
        """Where claimed numbers are from, each once."""
        return list(dict.fromkeys(row.source for row in self.rows if row.source))


def compare(rows: Sequence[tuple[str, Sequence[StageResult]]], split: str) -> Comparison:
    """rows: (label, results of its seeds). The best mean of every column is marked where there are several rows."""
    means = [[_mean(results, split, *column) for column in COLUMNS] for _, results in rows]
    found = []
    for (label, results), values in zip(rows, means, strict=True):
        cells = [
            Cell(
                value,
                statistics.stdev(_values(results, split, side, name)) if len(results) > 1 else None,
                _metric(results[0].claimed, side, name),
                len(rows) > 1 and value == _best(name)(row[column] for row in means),
                2 if name == "MnR" else 1,
            )
            for column, (value, (side, name)) in enumerate(zip(values, COLUMNS, strict=True))
        ]
        seconds = statistics.mean(result.seconds for result in results)
        found.append(Row(label, cells, len(results), seconds, results[0].claimed.get("source", "")))
    return Comparison([f"{side} {name}".strip() for side, name in COLUMNS], found)


def comparison_text(comparison: Comparison) -> str:
    """As plain text in columns."""
    lines = [
        ["", *comparison.columns, "runs", "seconds a run"],
        *([row.label, *map(_with_claim, row.cells), str(row.runs), f"{row.seconds:.0f}"] for row in comparison.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    return "\n".join([text[0], "─" * len(text[0]), *text[1:], *_below(comparison)])


def comparison_markdown(comparison: Comparison) -> str:
    """As a markdown table, the best of every column in bold."""
    titles = ["", *comparison.columns, "runs", "seconds a run"]
    lines = [titles, ["---"] * len(titles)]
    for row in comparison.rows:
        cells = [
            _with_claim(cell).replace(str(cell), f"**{cell}**", 1) if cell.best else _with_claim(cell)
            for cell in row.cells
        ]
        lines.append([row.label, *cells, str(row.runs), f"{row.seconds:.0f}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([table, *_below(comparison)])


def _with_claim(cell: Cell) -> str:
    return str(cell) + ("" if cell.claimed is None else f" [{cell.claimed:.{cell.digits}f}]")


def _below(comparison: Comparison) -> list[str]:
    return [f"In brackets: claimed by {'; '.join(comparison.sources)}."] if comparison.sources else []


def _values(results: Sequence[StageResult], split: str, side: str, name: str) -> list[float]:
    values = [_metric(result.metrics[split], side, name) for result in results]
    return [value for value in values if value is not None]


def _mean(results: Sequence[StageResult], split: str, side: str, name: str) -> float:
    return statistics.mean(_values(results, split, side, name))


def _metric(metrics: Mapping[str, Any], side: str, name: str) -> float | None:
    value = metrics.get(side, {}).get(name) if side else metrics.get(name)
    return None if value is None else float(value)


def _best(name: str) -> Callable[[Iterable[float]], float]:
    return min if name in LOWER_IS_BETTER else max
