"""What the tests of runs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from eaglenet_jax.runs import kept_step


@pytest.fixture(scope="session")
def demo_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the demo's smallest data: both processes render them once, the second waits for the first."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demo_datasets"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which steps are kept as by a command, which in tests nothing does else."""
    monkeypatch.setattr(kept_step, "traced_folder", lambda: tmp_path / "traced")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    return tmp_path / "traced"
