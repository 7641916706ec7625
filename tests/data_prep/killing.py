"""Start a program, `kill -9` it in the middle, and see that its worker processes end too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds; a crowded machine is slow


def run_and_kill(command: list[str], when: Callable[[], bool]) -> list[int]:
    """Runs `python -m command…`, kills the parent once `when()` holds, returns the process ids of its children."""
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not when():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "it did not get there in time"
            time.sleep(0.005)
        children = _children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return children


def workers_are_gone(children: list[int]) -> None:
    """Waits until none of the processes lives."""
    until(lambda: not any(map(_lives, children)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
