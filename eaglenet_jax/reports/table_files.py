"""A comparison of runs as a markdown file and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.comparison import Comparison, comparison_markdown
from eaglenet_jax.reports.template import render


def write_tables(out: Path, comparisons: Sequence[Comparison], title: str, split: str) -> list[Path]:
    """Writes OUT.md and OUT.html, a table for each comparison → both. Raises UserError if they cannot be written."""
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
