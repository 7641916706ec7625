"""Ten training steps of a tiny system: `python -m tests.training.run_steps OUT HEAD DEVICES:SHARDING …`.

Writes OUT/DEVICES:SHARDING.npz with the losses and every leaf of the last state. With PROCESSES, PROCESS and
COORDINATOR in the environment it is one of several processes, and the first writes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from eaglenet_jax.training import sharding
from eaglenet_jax.training.optimizer import make_optimizer, parameter_name
from eaglenet_jax.training.sharding import make_mesh, place_state, shard_batch, state_shardings
from eaglenet_jax.training.step import initial_state, keep_placement, make_train_step
from tests.training import tiny

STEPS, BATCH = 10, 16
OPTIMIZER = {
    "name": "bert_adam",
    "head_lr": 1e-3,
    "clip_lr": 1e-3,
    "weight_decay": 0.2,
    "warmup": 0.1,
    "schedule": "cosine",
    "global_clip": 1.0,
    "per_tensor_clip": 1.0,
    "groups": ((".*", {}),),
}


def run(head: str, devices: int, params: str) -> dict[str, np.ndarray]:
    """Losses of every step, and every leaf of the last state by name."""
    system = tiny.system(head)
    initial = tiny.initial_params(head)
    optimizer = make_optimizer(OPTIMIZER, initial, STEPS)
    state = jax.device_get(initial_state(system, optimizer, initial))
    mesh = make_mesh(jax.devices()[:devices])
    state = place_state(state, state_shardings(state, mesh, params))
    step = keep_placement(make_train_step(system, optimizer, mesh=mesh, pairwise_block=2), mesh, params)
    count = BATCH // jax.process_count()
    mine = slice(jax.process_index() * count, (jax.process_index() + 1) * count)
    losses = []
    for number in range(STEPS):
        batch = {name: leaf[mine] for name, leaf in tiny.batch(BATCH, seed=number).items()}
        state, metrics = step(state, shard_batch(batch, mesh), jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1, "compiled again for a state that lies otherwise"
    whole = jax.jit(lambda state: state, out_shardings=NamedSharding(mesh, PartitionSpec()))(state)
    leaves = {parameter_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(whole)}
    return {"losses": np.asarray(losses)} | {name.replace("/", "."): leaf for name, leaf in leaves.items()}


def main() -> None:
    if "PROCESSES" in os.environ:
        numbers = {name: int(os.environ[name.upper()]) for name in ("processes", "process")}
        sharding.initialize_distributed({"cluster": "explicit", "coordinator": os.environ["COORDINATOR"], **numbers})
    sharding.SMALLEST_SHARDED = 64  # a tiny system has no large tensors
    out, head, *settings = sys.argv[1:]
    for setting in settings:
        devices, params = setting.split(":")
        found = run(head, int(devices), params)
        if jax.process_index() == 0:
            np.savez(Path(out) / f"{setting}.npz", **found)


if __name__ == "__main__":
    main()
