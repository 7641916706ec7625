"""Two processes save, restore and stop together: `python -m tests.training.save_together DIRECTORY`.

PROCESS and COORDINATOR in the environment say which one this is.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.preemption import Preemption
from eaglenet_jax.training.sharding import initialize_distributed, make_mesh, place_state, state_shardings
from eaglenet_jax.training.state import TrainState


def _state(step: int) -> TrainState:
    return TrainState(jnp.asarray(step), {"w": step + jnp.arange(8192.0).reshape(64, 128)}, (), jnp.ones(3) * step)


def main() -> None:
    number = int(os.environ["PROCESS"])
    initialize_distributed(
        {"cluster": "explicit", "coordinator": os.environ["COORDINATOR"], "processes": 2, "process": number}
    )
    directory, mesh = Path(sys.argv[1]), make_mesh()
    shardings = state_shardings(_state(0), mesh, "fsdp")
    with Checkpoints(directory, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, place_state(_state(step), shardings), {"step_is": step}, best=step == 1)
    assert checkpoints.steps() == [1, 2, 3]
    if number == 0:
        largest = max((directory / "3").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
        largest.write_bytes(b"")
    multihost_utils.sync_global_devices("damaged")

    shapes = jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), _state(0), shardings)
    with Checkpoints(directory) as checkpoints:
        state, metadata = checkpoints.restore(shapes)
        assert metadata["step_is"] == 2
        assert state.params["w"].sharding == shardings.params["w"]
        for shard in state.params["w"].addressable_shards:
            np.testing.assert_array_equal(shard.data, np.asarray(_state(2).params["w"])[shard.index])
        params = checkpoints.restore_params("best")
        np.testing.assert_array_equal(params["w"], _state(1).params["w"])
        checkpoints.save(3, state, {}, best=True)
    assert checkpoints.steps() == [2, 3]

    with Preemption() as preemption:
        assert not preemption.requested()
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested()


if __name__ == "__main__":
    main()
