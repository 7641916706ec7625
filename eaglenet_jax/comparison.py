"""Several systems in one table: mean and standard deviation of their metrics over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from eaglenet_jax.results import StageResult

COLUMNS = (("t2v", "R@1"), ("t2v", "R@5"), ("t2v", "R@10"), ("t2v", "MnR"), ("v2t", "R@1"), ("", "Rsum"))


def comparison_table(rows: Sequence[tuple[str, Sequence[StageResult]]], split: str, markdown: bool = False) -> str:
    """One line a system: means over its runs, ± the standard deviation between them (n − 1) where there are several.

    rows: (label, results of its seeds). markdown: as a markdown table, else as plain text in columns.
    """
    titles = ["", *(f"{side} {name}".strip() for side, name in COLUMNS), "runs", "seconds a run"]
    lines = [titles, *([label, *_cells(results, split)] for label, results in rows)]
    if markdown:
        cells = [lines[0], ["---"] * len(titles), *lines[1:]]
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    return "\n".join([text[0], "─" * len(text[0]), *text[1:]])


def _cells(results: Sequence[StageResult], split: str) -> list[str]:
    def value(result: StageResult, side: str, name: str) -> float:
        metrics = result.metrics[split]
        return float(metrics[side][name] if side else metrics[name])

    numbers = [[value(result, side, name) for result in results] for side, name in COLUMNS]
    cells = [_mean(column, 2 if name == "MnR" else 1) for column, (_, name) in zip(numbers, COLUMNS, strict=True)]
    return [*cells, str(len(results)), f"{statistics.mean(result.seconds for result in results):.0f}"]


def _mean(numbers: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return f"{mean} ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else mean
