"""What the tests of runs share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the demo's smallest data: both processes render them once, the second waits for the first."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demo_datasets"
