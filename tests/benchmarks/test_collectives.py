from __future__ import annotations

import json
import subprocess
import sys

import jax
import pytest

from benchmarks.collectives import main, simulate_devices
from eaglenet_jax.errors import UserError


@pytest.mark.long
def test_gathers_grow_with_the_batch_and_not_with_its_pairs() -> None:
    largest, videos = {}, {}
    for devices in (2, 4):
        command = [sys.executable, "-m", "benchmarks.collectives", f"--devices={devices}", "--clips=4", "--json"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert (found["devices"], found["batch"]) == (devices, 4 * devices)
        sent = found["sent"]
        assert set(sent) == {"all-gather", "all-reduce"}
        largest[devices], videos[devices] = sent["all-gather"]["largest"], found["video_bytes"]
        assert sent["all-reduce"]["largest"] <= found["parameter_bytes"] <= sent["all-reduce"]["bytes"]
    assert largest == videos and videos[4] == 2 * videos[2]


@pytest.mark.long
def test_sharded_parameters_are_gathered() -> None:
    command = [sys.executable, "-m", "benchmarks.collectives", "--devices=2", "--config=demo:tiny", "--params=fsdp"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    whole, gathers = shown[0], next(line for line in shown if line.startswith("all-gather"))
    assert whole.startswith("2 devices, batch 4: parameters ")
    assert float(gathers.split()[-1]) > float(whole.split()[-2]), "larger than all videos, so parameters"


def test_what_cannot_be_simulated_is_said() -> None:
    count = jax.device_count() + 1
    with pytest.raises(UserError, match=rf"already, not {count}; unset XLA_FLAGS"):
        simulate_devices(count)
    with pytest.raises(UserError, match="must be at least 1"):
        main(["--clips=0"])
