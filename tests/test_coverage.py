"""docs/coverage.md: every command there can be given, its configs exist, and the paper's numbers stand beside them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.ablation_claims import ABLATIONS
from eaglenet_jax.reports.claims import claimed
from eaglenet_jax.reports.runs_table import compare
from eaglenet_jax.reports.runs_text import comparison_markdown
from eaglenet_jax.reports.stage_results import Selection, StageResult
from tests.coverage_page import (
    ROOT,
    ROWS,
    SECTIONS,
    Row,
    commands_in,
    commands_of,
    configs_of,
    numbers_of,
    table_and_row,
)
from tests.given_command import given_to

PAPERS = {"EagleNet": range(1, 10), "T-MASS": range(1, 7), "SHE-Net": range(1, 9), "CrossTVR": range(1, 15)}
FIGURES = {"EagleNet": range(1, 6), "T-MASS": range(1, 8), "SHE-Net": range(1, 5), "CrossTVR": range(1, 7)}
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
NO_NUMBERS = {("EagleNet", "table 6"), ("T-MASS", "table 4"), ("CrossTVR", "table 7")}  # seconds, memory, unreadable


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}-{row.what}")
def test_commands_of_a_row_can_be_given(row):
    assert row.covered in ("yes", "in part", "no")
    commands = commands_of(row)
    assert bool(commands) == (row.covered != "no") and (row.covered != "no" or len(row.how) > 5)
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.held)
    assert bool(named) == (row.covered != "no")
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).is_file()
    numbers = numbers_of(row.what)
    for command in commands:
        _, overrides = given_to(command)
        assert all(word.startswith("--config.") for word in overrides)
        beside = [claimed(config.claim) for config in configs_of(command).values()]
        if beside and "sweep" in command and "table" in row.what and (row.paper, row.what) not in NO_NUMBERS:
            sources = [source for each in beside if each for source in (each, *each["others"])]
            tables = {
                number
                for each in sources
                if each["source"].startswith(row.paper)
                for number in numbers_of(each["source"].partition("table")[2])
            }
            assert numbers <= tables, f"the paper's own numbers do not stand beside {command}"
            for name, config in configs_of(command).items():
                missing = not_printed(config)
                assert not missing, f"{name}: {missing} of the papers is in no table"


def sides_of(claim: dict) -> dict[tuple[str, str], float]:
    """(direction, metric) → the number of a paper, without the sums of recalls that are ours."""
    return {(side, name): value for side in ("t2v", "v2t") for name, value in claim.get(side, {}).items()}


def not_printed(config: Any) -> list[tuple]:
    """Numbers of papers that the table of a run of a config lacks, in the place of their direction and metric."""
    claim = claimed(config.claim)
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


@pytest.mark.parametrize("row", [row for row in ROWS if "with DSL" in row.about], ids=lambda row: f"{row.paper}")
def test_numbers_with_dsl_stand_in_the_tables_of_the_runs_that_are_post_processed(row):
    runs = re.findall(r"`(\w+:[\w,]+)`", row.how)
    configs = [load_config(name) for name in [*runs, *(f"{name},vitg" for name in runs if "crosstvr" in name)]]
    sources = {
        each["source"]
        for config in configs
        for each in claimed(config.claim)["others"]
        if each["source"].startswith(row.paper) and "with DSL" in each["source"]
    }
    found = {number for source in sources for number in numbers_of(source.partition("table")[2].partition(",")[0])}
    assert numbers_of(row.what) == found and not any(map(not_printed, configs))
    assert len(sources) == len(found) * (2 if row.paper == "CrossTVR" else 1)  # Base and Large


def test_every_table_and_figure_of_every_paper_has_a_row():
    for paper, tables in PAPERS.items():
        for kind, every in (("table", tables), ("figure", FIGURES[paper])):
            of_kind = [row.what for row in ROWS if row.paper == paper and row.what.startswith(kind)]
            named = set().union(*map(numbers_of, of_kind))
            roman = paper == "SHE-Net" and kind == "table"
            assert named >= {ROMAN[number - 1] if roman else str(number) for number in every}, f"{paper}, {kind}"


def _needs(config: Any) -> set[tuple[Any, ...]]:
    """What has to be made of the prepared data before a config can be trained."""
    needed = set()
    if config.system == "shenet":
        needed.add(("syntax", config.data.prepared))
    tokens = config.head.get("tokens")
    if tokens and tokens.source:
        needed.add((config.data.prepared, tokens.source, tokens.count, tokens.width, config.max_frames))
    return needed


@pytest.mark.parametrize("paper", SECTIONS)
def test_what_a_command_reads_was_made_by_one_before_it(paper):
    """Tokens of a second encoder and parsed captions, without which a training stops at its start."""
    made: set[tuple[Any, ...]] = set()
    trained = 0
    for command in commands_in(SECTIONS[paper]):
        if "data_prep.syntax" in command:
            made.add(("syntax", str(given_to(command)[0].prepared)))
            continue
        for name, config in configs_of(command).items():
            if "eaglenet_jax.vision_tokens" in command:
                made |= _needs(config)
            else:
                assert _needs(config) <= made, f"{name}: no command before this one makes {_needs(config) - made}"
                trained += 1
    assert trained


def test_every_dataset_of_an_ablation_has_its_command():
    """Where a paper has a table for two datasets, the page has commands for both."""
    for row in ROWS:
        names = [name for command in commands_of(row) for name in configs_of(command) if "ablations/" in name]
        for table in {table_and_row(name)[0] for name in names} & set(ABLATIONS):
            datasets = {where.partition("/")[0] for sizes in ABLATIONS[table].rows.values() for where in sizes}
            given = {dataset for dataset in datasets if any(dataset in name.partition(":")[2] for name in names)}
            assert given == datasets, f"{row.paper}, {row.what}: no command for {datasets - given}"


def test_what_is_missing_from_the_page_is_found():
    with pytest.raises(UserError, match="unknown argument '--report-all"):
        given_to("python -m eaglenet_jax.evaluate --workdir=DIR --report-all")
    with pytest.raises(UserError, match="no config"):
        configs_of("python -m eaglenet_jax.sweep --config=ablations/none:msrvtt")
    with pytest.raises(UserError, match="would change nothing"):
        configs_of("python -m eaglenet_jax.sweep --config=msrvtt:xpool --config.epochs=3.0 --config.steps=4")
    with pytest.raises(AssertionError):
        given_to("python -m eaglenet_jax.nothing")
    row = Row("T-MASS", "table 5", "B/32; `b16` for B/16", "yes", "`python -m a --config=ablations/b:msrvtt,b32`", "")
    assert commands_of(row) == [
        f"python -m a --config=ablations/b:{dataset},{size}"
        for dataset in ("msrvtt", "didemo")
        for size in ("b32", "b16")
    ]
    assert numbers_of("tables 3 to 5 and 7–9") == {"3", "4", "5", "7", "8", "9"}
