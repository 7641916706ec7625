from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


# Each process compiles for itself: with programs from a warm cache, Gloo on CPU has been seen to mix up collectives of
# two programs that started within milliseconds.
COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def _start(module: str, out: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    out.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.training.{module}", str(out), *arguments],
        env=os.environ | COLD | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait(*runs: subprocess.Popen) -> None:
    for run in runs:
        output, _ = run.communicate()
        assert run.returncode == 0, output


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _assert_same_run(ours: Path, expected: Path) -> None:
    with np.load(ours) as a, np.load(expected) as b:
        assert set(a) == set(b)
        for name in b:
            # A gradient that is zero in exact arithmetic (a key's bias) is noise, which Adam makes larger: up to 1e-6.
            largest = max(float(np.max(np.abs(b[name]), initial=0)), 0.1)
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5 * largest, err_msg=name)


@pytest.mark.long
def test_eaglenet_trains_the_same_on_one_and_on_eight_devices(tmp_path: Path) -> None:
    _wait(_start("run_steps", tmp_path, "eaglenet", "1:replicated", "8:fsdp", JAX_NUM_CPU_DEVICES="8"))
    _assert_same_run(tmp_path / "8:fsdp.npz", tmp_path / "1:replicated.npz")


@pytest.mark.long
def test_two_processes_train_the_same_as_one(tmp_path: Path) -> None:
    one = _start("run_steps", tmp_path / "one", "clip4clip", "1:replicated")
    settings = ("8:replicated", "8:fsdp")
    common = {"JAX_NUM_CPU_DEVICES": "4", "COORDINATOR": _free_address(), "PROCESSES": "2"}
    _wait(
        one,
        *(
            _start("run_steps", tmp_path / "two", "clip4clip", *settings, PROCESS=str(number), **common)
            for number in (0, 1)
        ),
    )
    for setting in settings:
        _assert_same_run(tmp_path / f"two/{setting}.npz", tmp_path / "one/1:replicated.npz")


@pytest.mark.long
def test_two_processes_save_restore_and_stop_together(tmp_path: Path) -> None:
    common = {"JAX_NUM_CPU_DEVICES": "2", "COORDINATOR": _free_address()}
    _wait(*(_start("save_together", tmp_path, PROCESS=str(number), **common) for number in (0, 1)))
