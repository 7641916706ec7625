"""docs/DIFFERENCES.md names switches that the configs have, the values of the presets, and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from eaglenet_jax.config.checking import field, leaves
from eaglenet_jax.config.loading import load_config

# A row of one system begins with its name; the switches of the others are EagleNet's or those of all.
SYSTEMS = {
    "CrossTVR": "crosstvr",
    "SHE-Net": "shenet",
    "TS2-Net": "ts2net",
    "T-MASS": "tmass",
    "seqTransf": "seqtransf",
    "CLIP4Clip": "clip4clip",
}
ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/DIFFERENCES.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| |"))
]


def test_every_row_has_all_columns() -> None:
    assert [row for row in ROWS if len(row) != 6 or not all(row)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_switches_and_tests_of_a_row_exist(row: list[str]) -> None:
    named = next((word for name, word in SYSTEMS.items() if name in row[0]), "eaglenet")
    config = load_config(f"msrvtt:{named}")
    for path in re.findall(r"`(?:--config\.)?([a-z_0-9]+(?:\.[a-z_0-9]+)*)`(?=[ ,]|$)", row[4]):
        found = config
        for name in path.split("."):
            assert name in found, f"{path} is no switch of the config"
            found = found[name]
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[5]):
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


# Rows about something that no preset changes: rows of an ablation, or a choice that is left to the user.
NO_PRESET = re.compile(r"\(table \w+\)|of table 5|weight α|model selection")
SETTING = re.compile(r"((?:`[a-z_0-9.-]+`(?:, )?)+) = (.+?)(?=, `(?:--config\.)?[a-z_]+[.`]|;| \(preset|$)")


def _settings(cell: str) -> list[tuple[str, list[Any]]]:
    """The switches of a cell with their values, the one of the paper or the released program first, ours last."""
    return [
        (name.removeprefix("--config."), [ast.literal_eval(value.strip(" `")) for value in values.split(" / ")])
        for names, values in SETTING.findall(cell)
        if " / " in values
        for name in re.findall(r"`([^`]+)`", names)
    ]


VALUED = [row for row in ROWS if not NO_PRESET.search(row[0]) and _settings(row[4])]


def _config(row: list[str], preset: str) -> Any:
    named = next((word for name, word in SYSTEMS.items() if name in row[0]), "eaglenet")
    return load_config(f"{'didemo' if '(DiDeMo)' in row[0] else 'msvd'}:{named},{preset}")


@pytest.mark.parametrize("row", VALUED, ids=lambda row: row[0])
def test_presets_have_the_values_of_a_row(row: list[str]) -> None:
    stated = "paper" if row[1] not in ("–", "not given") else "released"
    for name, values in _settings(row[4]):
        presets = (stated, "released", "ours") if len(values) == 3 else (stated, "ours")
        for preset, value in zip(presets, values, strict=True):
            found = field(_config(row, preset), name)
            assert found == (pytest.approx(value, rel=2e-3) if isinstance(value, float) else value), (preset, name)


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("system", ["eaglenet", *sorted(SYSTEMS.values())])
def test_what_a_preset_changes_has_a_row(system: str, preset: str) -> None:
    ours, theirs = (dict(leaves(load_config(f"msvd:{system},{name}"))) for name in ("ours", preset))
    changed = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    named = {name for row in ROWS for name in re.findall(r"`(?:--config\.)?([a-z_0-9.]+)`", row[4])}
    # A first stage is a system with rows of its own.
    assert {name for name in changed - named if not name.startswith(("first_stage.", "head.first."))} == {"preset"}
