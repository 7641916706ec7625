"""The GPU benchmark at tiny sizes, on any device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def test_everything_is_measured_and_written(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(gpu, "has_torch", lambda: False)
    gpu.main(["--tiny", "--rounds=1", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["frames"], row["type"]) for row in result["gallery"]] == [(3, name) for name in gpu.TYPES]
    exact, default, half = result["gallery"]
    assert exact["largest_difference"] == 0 and default["largest_difference"] < 1e-2 > half["largest_difference"] > 0
    assert exact["same_first_percent"] == exact["R@10"] == 100
    assert result["beside"]["largest_difference"] < 1e-5
    printed = capsys.readouterr().out
    assert "(a) was not measured" in printed and "float32, highest" in printed


def test_the_script_starts_from_anywhere(tmp_path) -> None:
    script = [str(ROOT / "benchmarks/gpu.sh"), "--help"]
    run = subprocess.run(
        script, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert run.returncode == 0 and "--tiny" in run.stdout, run.stderr
