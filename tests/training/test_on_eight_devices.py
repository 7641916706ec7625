from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.long
def test_everything_marked_passes_on_eight_devices() -> None:
    files = [path for path in sorted(HERE.glob("test_*.py")) if "@needs_eight_devices" in path.read_text()]
    names = re.findall(r"@needs_eight_devices\n(?:@.*\n)*def (test_\w+)", "".join(path.read_text() for path in files))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--numprocesses=0",
        "-p",
        "no:cacheprovider",
        "-k",
        " or ".join(names),
        *map(str, files),
    ]
    run = subprocess.run(
        command, env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"}, cwd=HERE.parents[1], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout, run.stdout
