"""docs/DIFFERENCES.md names switches that the configs have and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
