"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from eaglenet_jax.spawning import end_with_parent
from tests.waiting import until

ROOT = Path(__file__).parents[1]
PARENT = """
import multiprocessing, sys, time
from tests.test_spawning import child
multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[1],)).start()
time.sleep(600)
"""


def child(folder: str) -> None:
    """Say that Ctrl-C is ignored, then wait for longer than the test does."""

    def end() -> None:
        (Path(folder) / "asked").touch()
        os._exit(0)

    end_with_parent(end)
    (Path(folder) / f"{os.getpid()} {signal.getsignal(signal.SIGINT) is signal.SIG_IGN}").touch()
    time.sleep(600)


def test_a_process_is_asked_to_end_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT)
    try:
        until(lambda: list(tmp_path.glob("* True")))
        assert not (tmp_path / "asked").exists()
    finally:
        parent.kill()
        parent.wait()
    until((tmp_path / "asked").exists)
