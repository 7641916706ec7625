from __future__ import annotations

from pathlib import Path

import pytest

from eaglenet_jax.data.prepared_dataset import PreparedDataset
from tests.data.prepared import write_prepared


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="session")
def prepared(prepared_dir) -> PreparedDataset:
    return PreparedDataset.open(prepared_dir)
