"""docs/coverage.md: every command there can be given, its configs exist, and the paper's numbers stand beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.claims import claimed
from eaglenet_jax.reports.runs_table import compare
from eaglenet_jax.reports.runs_text import comparison_markdown
from eaglenet_jax.reports.stage_results import Selection, StageResult
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
            for config in configs(command):
                missing = not_printed(config)
                assert not missing, f"{config}: {missing} of the papers is in no table"


def sides_of(claim: dict) -> dict[tuple[str, str], float]:
    """(direction, metric) → the number of a paper, without the sums of recalls that are ours."""
    return {(side, name): value for side in ("t2v", "v2t") for name, value in claim.get(side, {}).items()}


def not_printed(config: str) -> list[tuple]:
    """Numbers of papers that the table of a run of a config lacks, in the place of their direction and metric."""
    claim = claimed(load_config(config).claim)
    side = {"R@1": 1.5, "R@5": 2.5, "R@10": 3.5, "MdR": 4.5, "MnR": 5.5}
    videos = claim.get("videos", 7)
    result = StageResult(
        "run", "system", "w", {"test": {"t2v": side, "v2t": side, "Rsum": 15.0}}, {"test": [videos, videos]}, 1,
        Selection.VALIDATION, "ours", "0", 1.0, claimed=claim,
    )  # fmt: skip
    printed = {}
    for table in comparison_markdown(compare([("run", [result])], "test")).split("\n\n"):
        lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
        direction = {"text → video": "t2v", "video → text": "v2t"}.get(lines[0][0])
        for label, *cells in lines[2:] if direction else ():
            for name, cell in zip(lines[0][1:], cells, strict=True):
                printed[label, direction, name] = cell
    missing = []
    for label, paper in [("run", claim), *((f"· {other['source']}", other) for other in claim.get("others", ()))]:
        for (direction, name), value in sides_of(paper).items():
            cell = printed.get((label, direction, name), "")
            if not (cell.endswith(f" [{value:g}]") if label == "run" else cell and float(cell) == value):
                missing.append((label, direction, name, value))
    return missing


@pytest.mark.parametrize(("paper", "cells"), [row for row in ROWS if "with DSL" in row[1][1]], ids=str)
def test_numbers_with_dsl_stand_in_the_tables_of_the_runs_that_are_post_processed(paper, cells):
    what, _, _, how, _ = cells
    runs = re.findall(r"`(\w+:[\w,]+)`", how)
    sources = {
        each["source"]
        for config in [*runs, *(f"{config},vitg" for config in runs if "crosstvr" in config)]
        for each in claimed(load_config(config).claim)["others"]
        if each["source"].startswith(paper) and "with DSL" in each["source"]
    }
    found = {number for source in sources for number in numbers_of(source.partition("table")[2].partition(",")[0])}
    assert numbers_of(what) == found and all(not not_printed(config) for config in runs)
    assert len(sources) == len(found) * (2 if paper == "CrossTVR" else 1)  # Base and Large


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
