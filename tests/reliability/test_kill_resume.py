from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.kill_resume import kill_and_resume


@pytest.mark.long
def test_killed_runs_end_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Also: two runs with one seed give the same. The long version is the command of the module."""
    assert kill_and_resume(tmp_path, kills=1, devices=1, steps=4) == (1, 0)
