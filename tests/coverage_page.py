"""docs/coverage.md as its tests read it: rows by paper, commands in their order, and the configs that they train."""

from __future__ import annotations

import functools
import re
import runpy
from pathlib import Path
from typing import Any, NamedTuple

from eaglenet_jax.config.checking import leaves
from eaglenet_jax.config.loading import load_config, resolve
from eaglenet_jax.config.overrides import check_used
from eaglenet_jax.runs.sweep import expand
from tests.given_command import given_to

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/coverage.md").read_text()
SECTIONS = {part.splitlines()[0]: part for part in PAGE.split("\n## ")[1:]}  # by paper


class Row(NamedTuple):
    """A row of the page: whose paper, and the cells."""

    paper: str
    what: str
    about: str
    covered: str
    how: str
    held: str


def rows_of(paper: str) -> list[Row]:
    """The rows about a paper."""
    lines = [line for line in SECTIONS[paper].splitlines() if line.startswith("|")]
    return [
        Row(paper, *(cell.strip() for cell in line.strip("|").split(" | ")))
        for line in lines
        if not line.startswith(("|---", "| | "))
    ]


ROWS = [row for paper in SECTIONS for row in rows_of(paper)]


def numbers_of(text: str) -> set[str]:
    """Numbers of tables or figures: "tables 11–13" → 11, 12, 13; "3 to 5" → 3, 4, 5; "table IV" → IV."""
    spelled = re.sub(
        r"(\d+)(?:–| to )(\d+)", lambda ends: " ".join(map(str, range(int(ends[1]), int(ends[2]) + 1))), text
    )
    return set(re.findall(r"\b[IVX]+\b|\d+", spelled))


def commands_in(text: str) -> list[str]:
    """The commands of a text, in their order."""
    return re.findall(r"`(python -m [^`]*)`", text)


def commands_of(row: Row) -> list[str]:
    """The commands of a row, with those that the page gives by a word to write for another.

    Two sentences do that: "`b16` for B/16" in a row, and "For DiDeMo … in tables …, write `didemo` for `msrvtt`" in
    the section.
    """
    commands = commands_in(row.how)
    if "`b16` for B/16" in row.about:
        commands += [command.replace("b32", "b16") for command in commands]
    other = re.search(r"For DiDeMo[^.]*? tables? ([^.]*), write `didemo` for `msrvtt`", SECTIONS[row.paper])
    if other and row.what.startswith("table") and numbers_of(row.what) <= numbers_of(other[1]):
        commands += [command.replace("msrvtt", "didemo") for command in commands if "ablations/" in command]
    return commands


def names_of(command: str) -> list[str]:
    """Names of the configs that a command trains or reads, as --config takes them; a table of ablations as its rows."""
    asked = re.findall(r"--config=(\S+)", command)
    return [name for _, name in expand(asked)] if asked else []


@functools.cache
def configs_of(command: str) -> dict[str, Any]:
    """The configs of a command with its overrides, by name."""
    overrides = [word for word in given_to(command)[1] if word.startswith("--config.")]
    found = {name: load_config(name, overrides, shared=True) for name in names_of(command)}
    check_used(overrides, list(found.values()))
    return found


def table_and_row(name: str) -> tuple[str, str]:
    """The table and row that the name of an ablation's config begins with, as "ablations/graph:gat,msrvtt,b16"."""
    file, _, argument = name.partition(":")
    return Path(file).stem, argument.partition(",")[0]


def changed_fields(name: str) -> set[str]:
    """The fields that the row of an ablation sets; none for another config."""
    rows = runpy.run_path(resolve(name).partition(":")[0]).get("ROWS", {})
    return {path for path, _ in leaves(rows[table_and_row(name)[1]])} if rows else set()
