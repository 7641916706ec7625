"""docs/coverage.md: every command there can be given, its configs exist, and the paper's numbers stand beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.claims import claimed
from eaglenet_jax.runs.sweep import expand
from tests.given_command import given_to

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/coverage.md").read_text()
PAPERS = {"EagleNet": range(1, 10), "T-MASS": range(1, 7), "SHE-Net": range(1, 9), "CrossTVR": range(1, 15)}
FIGURES = {"EagleNet": range(1, 6), "T-MASS": range(1, 8), "SHE-Net": range(1, 5), "CrossTVR": range(1, 7)}
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
NO_NUMBERS = {("EagleNet", "table 6"), ("T-MASS", "table 4"), ("CrossTVR", "table 7")}  # seconds, memory, unreadable


def rows() -> list[tuple[str, list[str]]]:
    """(paper, cells) of every row."""
    found = []
    for part in PAGE.split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|") and not line.startswith(("|---", "| | "))]
        found += [(part.splitlines()[0], [cell.strip() for cell in line.strip("|").split(" | ")]) for line in lines]
    return found


ROWS = rows()


def numbers_of(text: str) -> set[str]:
    """Numbers of tables or figures: "tables 11–13" → 11, 12, 13; "table IV" → IV."""
    spelled = re.sub(r"(\d+)–(\d+)", lambda ends: " ".join(map(str, range(int(ends[1]), int(ends[2]) + 1))), text)
    return set(re.findall(r"\b[IVX]+\b|\d+", spelled))


def configs(command: str) -> list[str]:
    """The configs of a command, a table of ablations as its rows."""
    asked = re.findall(r"--config=(\S+)", command)
    return [config for _, config in expand(asked)] if asked else []


@pytest.mark.parametrize(("paper", "cells"), ROWS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_commands_of_a_row_can_be_given(paper, cells):
    what, _, covered, how, held = cells
    assert covered in ("yes", "in part", "no")
    commands = re.findall(r"`(python -m [^`]*)`", how)
    assert bool(commands) == (covered != "no") and (covered != "no" or len(how) > 5)
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", held)
    assert bool(named) == (covered != "no")
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).is_file()
    numbers = numbers_of(what)
    for command in commands:
        _, unknown = given_to(command)
        assert not unknown
        beside = [claimed(load_config(config).claim) for config in configs(command)]
        if beside and "table" in what and (paper, what) not in NO_NUMBERS:
            sources = [source for each in beside if each for source in (each, *each["others"])]
            tables = {
                number
                for each in sources
                if each["source"].startswith(paper)
                for number in numbers_of(each["source"].partition("table")[2])
            }
            assert numbers <= tables, f"the paper's own numbers do not stand beside {command}"


def test_every_table_and_figure_of_every_paper_has_a_row():
    for paper, tables in PAPERS.items():
        for kind, every in (("table", tables), ("figure", FIGURES[paper])):
            of_kind = [cells[0] for name, cells in ROWS if name == paper and cells[0].startswith(kind)]
            named = set().union(*map(numbers_of, of_kind))
            roman = paper == "SHE-Net" and kind == "table"
            assert named >= {ROMAN[number - 1] if roman else str(number) for number in every}, f"{paper}, {kind}"


def test_a_dead_command_is_found():
    with pytest.raises(UserError, match="unknown argument '--report-all"):
        given_to("python -m eaglenet_jax.evaluate --workdir=DIR --report-all")
    with pytest.raises(UserError, match="no config"):
        configs("python -m eaglenet_jax.sweep --config=ablations/none:msrvtt")
    with pytest.raises(AssertionError):
        given_to("python -m eaglenet_jax.nothing")
