from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from data_prep.parallel import MIN_JOBS_FOR_PROCESSES, map_in_processes
from tests.data_prep.killing import ROOT


@pytest.mark.parametrize("count", [0, 3, MIN_JOBS_FOR_PROCESSES + 5])
def test_every_job_is_done_once(count: int) -> None:
    results = map_in_processes(math.sqrt, list(range(count)), workers=2, title="", progress=False)
    assert sorted(results) == [math.sqrt(i) for i in range(count)]


def test_a_worker_that_dies_is_noticed() -> None:
    with pytest.raises(BrokenProcessPool):
        list(map_in_processes(os._exit, [1] * MIN_JOBS_FOR_PROCESSES, workers=2, title="", progress=False))


def test_workers_do_not_run_the_calling_script_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from data_prep.parallel import map_in_processes\n"
        "print('started')\n"
        "done = map_in_processes(math.sqrt, list(range(20)), workers=2, title='', progress=False)\n"
        "print(len(list(done)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout) == (0, "started\n20\n"), result.stderr
