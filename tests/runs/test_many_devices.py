"""The whole run on several devices and in several processes: the same losses and results as on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]


# Each process compiles for itself: with programs from a warm cache, Gloo on CPU has been seen to mix up collectives of
# two programs that started within milliseconds.
COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def _start(root: Path, name: str, *more: str, **environment: str) -> subprocess.Popen:
    """demo:tiny with CLIP4Clip in both stages, evaluated in batches that do not divide the gallery."""
    arguments = ["--config=demo:tiny,clip4clip", f"--workdir={root / name}", f"--config.data.root={root / 'datasets'}"]
    arguments += ["--config.evaluation.batch_size=5", "--config.first_stage.evaluation.batch_size=5", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "eaglenet_jax.train", *arguments],
        env={**os.environ, "JAX_DEFAULT_MATMUL_PRECISION": "highest", **COLD, **environment},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(*runs: subprocess.Popen) -> list[str]:
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), "\n".join(printed)
    return printed


def _losses(workdir: Path) -> np.ndarray:
    lines = [json.loads(line) for line in (workdir / "events/log.jsonl").read_text().splitlines()]
    return np.array([line["train/loss"] for line in lines if "train/loss" in line])


def _assert_same(workdir: Path, expected: Path) -> None:
    for stage in ("first_stage", ""):
        np.testing.assert_allclose(_losses(workdir / stage), _losses(expected / stage), rtol=1e-4)
        ours, theirs = (json.loads((folder / stage / "metrics.json").read_text()) for folder in (workdir, expected))
        for side in ("t2v", "v2t"):  # sums in another order may exchange two neighbours
            assert abs(ours["test"][side]["MnR"] - theirs["test"][side]["MnR"]) <= 0.13
            assert ours["test"][side]["queries"] == theirs["test"][side]["queries"] == 16


@pytest.mark.long
def test_devices_and_processes_change_nothing(tmp_path: Path) -> None:
    """One device against two processes with two devices each, parameters cut over them, encoders in two parts."""
    _finished(_start(tmp_path, "one"))
    fsdp = [f"--config.{stage}sharding.params=fsdp" for stage in ("", "first_stage.")]
    parts = [f"--config.{stage}encode_micro_batches=2" for stage in ("", "first_stage.")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = ["--config.distributed.cluster=explicit", "--config.distributed.processes=2"]
    cluster.append(f"--config.distributed.coordinator={coordinator}")
    first, second = _finished(
        *(
            _start(
                tmp_path,
                "two",
                *fsdp,
                *parts,
                *cluster,
                f"--config.distributed.process={index}",
                JAX_NUM_CPU_DEVICES="2",
            )
            for index in (0, 1)
        )
    )
    assert "on 4 devices (cpu, fsdp)" in first and "val R@1" in first and "val R@1" not in second
    _assert_same(tmp_path / "two", tmp_path / "one")
