"""A comparison of systems as plain text, as markdown and as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.runs_table import Cell, Comparison, Part, Row

WIDTH = 120  # characters of a line of plain text
NARROWEST_LABEL = 24
RUN_COLUMNS = ("runs", "seconds a run")


def comparison_text(comparison: Comparison) -> str:
    """Format a comparison as plain text of at most 120 columns: a table a direction, a claim below its number."""
    tables = ["\n".join(_text_lines(part)) for part in comparison.parts]
    below = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in _below(comparison))
    heading = [comparison.data] if comparison.data else []
    return "\n\n".join([*heading, *tables, *([below] if below else [])])


def comparison_markdown(comparison: Comparison) -> str:
    """Format a comparison as markdown tables, one a direction, the best of every column in bold where rows differ."""
    heading = [f"## {comparison.data}"] if comparison.data else []
    return "\n\n".join([*heading, *map(_markdown_table, comparison.parts), *_below(comparison)])


def write_comparisons(out: Path, comparisons: Sequence[Comparison], title: str, split: str) -> list[Path]:
    """Write OUT.md and OUT.html with the tables of each comparison.

    Args:
        out: Path of both files; .md or .html at its end is left out.
        comparisons: One for each set of queries.
        title: Of the page.
        split: That the metrics are of.

    Returns:
        The two files.

    Raises:
        UserError: If they cannot be written.
    """
    from eaglenet_jax.reports.template import render

    out = out.with_suffix("") if out.suffix in (".md", ".html") else out
    page = render("table_page.html", comparisons=comparisons, title=title, split=split)
    contents = {".md": "\n\n".join(map(comparison_markdown, comparisons)) + "\n", ".html": page}
    files = [out.with_name(out.name + suffix) for suffix in contents]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for file, content in zip(files, contents.values(), strict=True):
            write_atomically(file, content.encode())
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; give another --out") from error
    return files


def _text_lines(part: Part) -> list[str]:
    """The lines of one table. A long label goes on in the lines below, which hold the claims of its row."""
    titles = _titles(part)
    numbers = [[*map(str, cells), *_run_cells(part, row)] for row, cells in part.rows]
    claims = [[f"[{cell.claimed}]" if cell.claimed else "" for cell in cells] for _, cells in part.rows]
    widths = [max(map(len, column)) for column in zip(titles, *numbers, strict=True)]
    for column, of_column in enumerate(zip(*claims, strict=True)):
        widths[column] = max(widths[column], *map(len, of_column))
    free = max(WIDTH - sum(2 + width for width in widths), NARROWEST_LABEL)
    labels = [textwrap.wrap(row.label, free, subsequent_indent="  ") for row, _ in part.rows]
    label_width = max(map(len, [part.title, *(line for label in labels for line in label)]))

    def line(label: str, cells: Sequence[str]) -> str:
        return "  ".join([label.ljust(label_width), *map(str.rjust, cells, widths)]).rstrip()

    lines = [line(part.title, titles), "─" * (label_width + sum(2 + width for width in widths))]
    for label, of_row, of_claim in zip(labels, numbers, claims, strict=True):
        lines.append(line(label[0], of_row))
        further = list(label[1:])
        if any(of_claim):
            lines.append(line(further.pop(0) if further else "", of_claim))
        lines += further
    return lines


def _markdown_table(part: Part) -> str:
    lines = [[part.title, *_titles(part)], ["---", *("---:" for _ in _titles(part))]]
    for row, cells in part.rows:
        shown = [
            _with_claim(cell).replace(str(cell), f"**{cell}**", 1) if cell.best else _with_claim(cell) for cell in cells
        ]
        lines.append([row.label.replace("|", "\\|"), *shown, *_run_cells(part, row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _titles(part: Part) -> list[str]:
    return [*part.columns, *(RUN_COLUMNS if part.with_runs else ())]


def _run_cells(part: Part, row: Row) -> list[str]:
    return [str(row.runs or "–"), f"{row.seconds:.0f}" if row.seconds else "–"] if part.with_runs else []


def _with_claim(cell: Cell) -> str:
    return str(cell) + (f" [{cell.claimed}]" if cell.claimed else "")


def _below(comparison: Comparison) -> list[str]:
    lines = [f"In brackets: claimed by {'; '.join(comparison.sources)}."] if comparison.sources else []
    if comparison.small_gallery:
        lines.append(f"{comparison.small_gallery}.")
    if any(not row.runs for row in comparison.rows):
        lines.append("Rows with a dot: what other papers claim for the system above.")
    if comparison.pointing_chance is not None:
        lines.append(
            "Pointing: percentage of the frame weight on the part of the right video that the caption describes; by"
            f" chance {comparison.pointing_chance:.1f}."
        )
    return lines
