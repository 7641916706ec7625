"""Whether the training step of a stage fits the memory of its devices, by the program that is compiled for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from eaglenet_jax.runs.plan import StagePlan
from eaglenet_jax.runs.stage_step import stage_step
from eaglenet_jax.runs.time_estimate import batch_shapes
from eaglenet_jax.system import OnFeatures, System
from eaglenet_jax.training.sharding import DATA_AXIS, Devices, state_shardings
from eaglenet_jax.training.step import initial_state

# What saves memory, by the most that it saves first, with the value that is advised; see docs/training.md.
SAVINGS = {"clip.remat": "True", "encode_micro_batches": "4", "pairwise_block": "8"}
OF_THE_ENCODERS = ("clip.remat", "encode_micro_batches")


@dataclasses.dataclass(frozen=True)
class StepBytes:
    """Bytes that a compiled step needs on each device.

    Attributes:
        arguments: Parameters, moments, head state and batch.
        temporaries: Activations, gradients and what else a step makes and drops.
    """

    arguments: int
    temporaries: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.arguments + self.temporaries


def memory_row(stage: StagePlan) -> str:
    """Describe the memory of a stage's step; "" where its devices do not say how much they have, as CPUs.

    Where they do, the step is compiled for them.

    Args:
        stage: As it is planned.
    """
    limit = device_memory()
    if limit is None:
        return ""
    try:
        return described(step_bytes(stage), limit, stage.config)
    except jax.errors.JaxRuntimeError as error:  # the compiler itself can find that a step does not fit
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return f"the step does not compile in the {_of_device(limit)}: {_advice(stage.config)}"


def device_memory() -> int | None:
    """Bytes that jax may use of each device, as the first device says; None where it does not."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return int(limit) if limit else None


def described(needed: StepBytes, limit: int, config: Any) -> str:
    """Compare what a step needs with what a device has, in words.

    Args:
        needed: By the compiled program.
        limit: Bytes of each device.
        config: Of the stage.
    """
    amount = f"{needed.total / 1e9:.3g} GB ({needed.temporaries / 1e9:.3g} GB of it temporaries)"
    if needed.total <= limit:
        return f"a step needs {amount} of the {_of_device(limit)}"
    return f"a step needs {amount}, more than the {_of_device(limit)}: {_advice(config)}"


def _of_device(limit: int) -> str:
    return f"{limit / 1e9:.3g} GB that jax may use of each device"


def _advice(config: Any) -> str:
    advice = [f"--config.{name}={value}" for name, value in SAVINGS.items() if _is_open(config, name)]
    return f"try {', '.join([*advice, 'a smaller --config.batch_size'])}"


def _is_open(config: Any, name: str) -> bool:
    """Whether a field that saves memory is unset, and read by this config."""
    if name in OF_THE_ENCODERS and config.cached_features:
        return False
    if name == "encode_micro_batches":
        divides = config.batch_size % (int(SAVINGS[name]) * jax.device_count()) == 0
        return bool(config.encode_micro_batches == 1 and config.accumulate == 1 and divides)
    return not (config.clip.get("remat") if name == "clip.remat" else config.pairwise_block)


def step_bytes(stage: StagePlan) -> StepBytes:
    """Compile the step of a stage as it is trained, and return what it needs on each device."""
    devices = Devices.of_all(stage.config.sharding.params)
    step, arguments = step_and_arguments(
        stage.config, stage.system, stage.shapes, stage.optimizer, devices.mesh, stage.steps
    )
    memory = step.lower(*arguments).compile().memory_analysis()
    written = max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)
    return StepBytes(int(memory.argument_size_in_bytes), int(memory.temp_size_in_bytes + written))


def step_and_arguments(
    config: Any, system: System, shapes: Any, settings: Any, mesh: Mesh | None, total_steps: int
) -> tuple[Any, tuple[Any, Any, Any]]:
    """Make a training step as `train` does, and the shapes of its arguments, placed on the mesh.

    Args:
        config: Of the stage.
        system: Its encoders and head.
        shapes: Of the parameters.
        settings: As of `optimizer_settings`.
        mesh: Devices, None for the default one.
        total_steps: Of the schedule, which is a constant of the program.
    """
    several = mesh if mesh is not None and mesh.size > 1 else None
    optimizer, step = stage_step(config, system, settings, shapes, several, total_steps)
    state = jax.eval_shape(lambda params: initial_state(system, optimizer, params), shapes)
    batch = batch_shapes(system, config.batch_size)
    if config.cached_features:
        batch = jax.eval_shape(lambda params, batch: OnFeatures.batch(*system.encode(params, batch)), shapes, batch)
    key = jax.eval_shape(lambda: jax.random.key(0))
    if mesh is None:
        return step, (state, batch, key)

    def placed(tree: Any, spec: PartitionSpec) -> Any:
        return jax.tree.map(lambda leaf: _placed(leaf, NamedSharding(mesh, spec)), tree)

    state = jax.tree.map(_placed, state, state_shardings(state, mesh, config.sharding.params))
    return step, (state, placed(batch, PartitionSpec(DATA_AXIS)), placed(key, PartitionSpec()))


def _placed(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
