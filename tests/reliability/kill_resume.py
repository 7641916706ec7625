"""Kills real training runs with SIGKILL and continues them: `python -m tests.reliability.kill_resume --kills 20`.

Every killed run must end bit for bit as an uninterrupted one: parameters, optimiser, replay buffer, losses of every
step and metrics. Half of the kills wait for a checkpoint that is being written. Prints `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.training.checkpoint_files import read_arrays, saved_shapes

REPOSITORY = Path(__file__).parents[2]
KILLS_A_RUN = 5
STAGES = ("first_stage", "")


def _command(root: Path, name: str, steps: int) -> list[str]:
    shared = {"steps": steps, "evaluation.every": 2, "data.root": root / "datasets"}
    both = [f"--config.{stage}{field}={value}" for stage in ("", "first_stage.") for field, value in shared.items()]
    return [sys.executable, "-m", "eaglenet_jax.train", "--config=demo:tiny", f"--workdir={root / name}", *both]


def _start(root: Path, name: str, steps: int, devices: int) -> subprocess.Popen[str]:
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    return subprocess.Popen(
        _command(root, name, steps),
        cwd=REPOSITORY,
        env={**environment, **os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _log(workdir: Path) -> list[dict[str, Any]]:
    file = workdir / "events/log.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _progress(workdir: Path) -> int:
    """Lines logged by all stages."""
    return sum(len(_log(workdir / stage)) for stage in STAGES)


def _saving(workdir: Path) -> bool:
    return any(any((workdir / stage / "checkpoints").glob("*.orbax-checkpoint-tmp*")) for stage in STAGES)


def _kill(run: subprocess.Popen[str], workdir: Path, chance: random.Random) -> str:
    """Kills a run after it has got somewhere, at random or while it saves → what was happening, "" if it had ended."""
    before, while_saving = _progress(workdir), chance.random() < 0.5
    wanted = before + chance.randint(1, 6)
    while run.poll() is None:
        if _progress(workdir) >= wanted and (not while_saving or _saving(workdir)):
            time.sleep(chance.uniform(0, 0.02 if while_saving else 0.4))
            happening = "saving" if _saving(workdir) else "training"
            run.send_signal(signal.SIGKILL)
            run.communicate()
            return happening
        time.sleep(0.002)
    return ""


def _ended(run: subprocess.Popen[str]) -> str:
    """Wait for a run; return "" for success, else its output."""
    _, complaint = run.communicate()
    return "" if run.returncode == 0 else f"exit {run.returncode}: {complaint.strip().splitlines()[-1:]}"


def _numbers(line: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a log line that does not depend on the clock or the machine."""
    return {k: v for k, v in line.items() if not k.endswith(("clips_per_second", "data_wait", "memory"))}


def _last_state(checkpoints: Path) -> dict[str, Any]:
    """All arrays of the newest checkpoint."""
    newest = checkpoints / str(max(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()))
    return read_arrays(newest, saved_shapes(newest))


def differences(workdir: Path, expected: Path) -> list[str]:
    """List the differences of two finished runs, compared bit for bit."""
    found = []
    for stage in STAGES:
        ours, theirs = workdir / stage, expected / stage
        arrays = [_last_state(folder / "checkpoints") for folder in (ours, theirs)]
        if arrays[0].keys() != arrays[1].keys():
            found.append(f"{stage}: other arrays")
            continue
        found += [f"{stage}: {name}" for name in arrays[0] if not np.array_equal(arrays[0][name], arrays[1][name])]
        if [_numbers(line) for line in _log(ours)] != [_numbers(line) for line in _log(theirs)]:
            found.append(f"{stage}: log")
        metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (ours, theirs)]
        for each in metrics:
            each["run"].pop("seconds")
        if metrics[0] != metrics[1]:
            found.append(f"{stage}: metrics")
    return found


def kill_and_resume(root: Path, kills: int, devices: int, steps: int = 20, seed: int = 0) -> tuple[int, int]:
    """Kills in as many runs as are needed, each compared with one that nobody disturbed → (passed, failed) kills."""
    chance = random.Random(seed)
    complaint = _ended(_start(root, "whole", steps, devices))
    if complaint:
        raise RuntimeError(f"the undisturbed run failed: {complaint}")
    passed = failed = number = 0
    while passed + failed < kills:
        name = f"killed_{number}"
        number += 1
        moments: list[str] = []
        run = _start(root, name, steps, devices)
        while len(moments) < min(KILLS_A_RUN, kills - passed - failed):
            happening = _kill(run, root / name, chance)
            if not happening:
                break
            moments.append(happening)
            run = _start(root, name, steps, devices)
        wrong = _ended(run) or ", ".join(differences(root / name, root / "whole")[:3])
        print(f"run {number}: {len(moments)} kills ({', '.join(moments)}): {wrong or 'the same'}", flush=True)
        passed, failed = (passed, failed + max(len(moments), 1)) if wrong else (passed + len(moments), failed)
    return passed, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kills that the flags ask for; return 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.kill_resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1, help="CPU devices of the run")
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        passed, failed = kill_and_resume(Path(folder), known.kills, known.devices, seed=known.seed)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
