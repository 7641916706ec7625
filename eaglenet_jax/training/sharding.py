"""Mesh of devices along one axis, and the placement of batches, parameters and the rest of the state on it."""

from __future__ import annotations

import dataclasses
import math
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.training.state import TrainState

DATA_AXIS = "data"
PARAMETER_SHARDINGS = ("replicated", "fsdp")
# A tensor of fewer elements costs more to gather than to store on every device.
SMALLEST_SHARDED = 4096


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Build a mesh of one axis, "data", over the given devices, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Spread a batch over the mesh along the leading axis, as global arrays.

    Args:
        batch: NumPy arrays. With several processes, each gives its own slice of the global batch, in the order of the
            processes.
        mesh: The mesh.

    Raises:
        UserError: The global batch does not divide by the number of devices.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    rows = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
    for count in rows:
        total = count * jax.process_count()
        if total % mesh.size:
            raise UserError(
                f"a batch of {total} examples does not divide over {mesh.size} devices: "
                f"choose a multiple of {mesh.size} as config.batch_size"
            )
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)


def state_shardings(state: TrainState, mesh: Mesh, params: str = "replicated") -> TrainState:
    """Return the placement of each leaf of the state, a tree of `NamedSharding`.

    The step and the head's state (EagleNet's replay buffer, whose rows are drawn at random) are replicated.

    Args:
        state: Arrays or their shapes.
        mesh: The mesh.
        params: "replicated": all of it on every device. "fsdp": parameters and moments are cut along their largest axis
            that divides by the number of devices, except tensors of fewer than `SMALLEST_SHARDED` elements.

    Raises:
        UserError: `params` is neither.
    """
    if params not in PARAMETER_SHARDINGS:
        raise UserError(f"config.sharding.params={params!r} is none of {', '.join(PARAMETER_SHARDINGS)}")
    replicated = NamedSharding(mesh, PartitionSpec())

    def place(leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, _largest_divisible_axis(leaf.shape, mesh.size)) if params == "fsdp" else replicated

    return TrainState(
        step=replicated,
        params=jax.tree.map(place, state.params),
        opt_state=jax.tree.map(place, state.opt_state),
        head_state=jax.tree.map(lambda _: replicated, state.head_state),
    )


def _largest_divisible_axis(shape: tuple[int, ...], devices: int) -> PartitionSpec:
    """Return the partition along the largest axis that divides by the number of devices, if any."""
    axes = [axis for axis, size in enumerate(shape) if size % devices == 0]
    if math.prod(shape) < SMALLEST_SHARDED or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    # Without None for the axes after it, as jax writes the partition of what a program returns: equal, or a second call
    # looks its program up again.
    return PartitionSpec(*[None] * largest, DATA_AXIS)


def place_state(state: TrainState, shardings: TrainState) -> TrainState:
    """Place the state on its devices. With several processes, each gives the whole state."""

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    return jax.tree.map(place, state, shardings)


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of a run.

    Attributes:
        mesh: None for a single device.
        params: Placement of the parameters, see `state_shardings`.
    """

    mesh: Mesh | None
    params: str = "replicated"

    @classmethod
    def of_all(cls, params: str) -> Devices:
        """Use all devices of all processes."""
        return cls(make_mesh() if jax.device_count() > 1 else None, params)

    def __str__(self) -> str:
        kind = jax.devices()[0].device_kind
        return f"1 device ({kind})" if self.mesh is None else f"{self.mesh.size} devices ({kind}, {self.params})"

    def place(self, state: TrainState) -> TrainState:
        """Place a state on the devices.

        On a single one it is committed to it, as the state that a step returns: a state of which some arrays are (those
        of a checkpoint) and others are not would have the first step compiled twice.
        """
        if self.mesh is None:
            return jax.device_put(state, jax.devices()[0])
        return place_state(state, state_shardings(state, self.mesh, self.params))

    def batch(self, batch: Mapping[str, Any]) -> Any:
        """Combine the processes' rows of a batch into the whole batch, spread over the devices."""
        return batch if self.mesh is None else shard_batch(dict(batch), self.mesh)


def initialize_distributed(config: Mapping[str, Any]) -> None:
    """Join this process to the others, before any device is used.

    Args:
        config: cluster "none": nothing is done; "auto": Slurm, Open MPI, Kubernetes or a cloud determines the
            processes; "explicit": coordinator ("host:port" of process 0), processes (their number) and process (this
            one's number) do.

    Raises:
        UserError: The cluster is unknown, or the other processes cannot be found or reached.
    """
    cluster = config["cluster"]
    if cluster == "none" or jax.distributed.is_initialized():
        return
    if cluster == "auto":
        where, options = "the environment", {}
        remedy = "start it with srun, mpirun or on a TPU pod, or give config.distributed.cluster=explicit"
    elif cluster == "explicit":
        options = {
            "coordinator_address": config["coordinator"],
            "num_processes": config["processes"],
            "process_id": config["process"],
        }
        where = f"{options['coordinator_address']!r} as process {options['process_id']} of {options['num_processes']}"
        remedy = "give the HOST:PORT of process 0 as coordinator, how many processes there are, and which one this is"
    else:
        raise UserError(f"config.distributed.cluster={cluster!r} is none of none, auto, explicit")
    try:
        if options.get("process_id"):
            _wait_for(options["coordinator_address"])
        jax.distributed.initialize(**options)
    except (ValueError, RuntimeError, OSError) as error:
        reason = first_line(error)
        raise UserError(
            f"config.distributed: could not join the other processes by {where}: {reason.rstrip('.')}; {remedy}"
        ) from error


def _wait_for(coordinator: str, seconds: float = 300.0) -> None:
    """Wait until process 0 listens. Otherwise JAX would abort the process with a C++ stack trace if it never does."""
    host, _, port = coordinator.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=seconds).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)
