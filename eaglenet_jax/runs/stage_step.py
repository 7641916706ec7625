"""The optimiser and the training step of a stage, as its config asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax
from jax.sharding import Mesh

from eaglenet_jax.system import OnFeatures, System
from eaglenet_jax.training.ema import with_average
from eaglenet_jax.training.frozen import WithFrozen
from eaglenet_jax.training.optimizer import make_optimizer, parameter_rates
from eaglenet_jax.training.step import keep_placement, make_train_step


def stage_step(
    config: Any, system: System, settings: Any, params: Mapping[str, Any], mesh: Mesh | None, total_steps: int
) -> tuple[optax.GradientTransformation, Any]:
    """Make what trains a stage.

    Args:
        config: Of the stage.
        system: Its encoders and head.
        settings: As of `optimizer_settings`.
        params: The parameters, or their shapes.
        mesh: Devices, None for the default one.
        total_steps: Of the schedule, which is a constant of the program.

    Returns:
        The optimiser, with the moving average where the config has one, and the step of `make_train_step`.
    """
    optimizer = make_optimizer(settings, params, total_steps)
    frozen = {name for name, rate in parameter_rates(settings, params).items() if rate.frozen}
    if config.ema_decay:
        optimizer = with_average(optimizer, config.ema_decay, frozen)
    step = make_train_step(
        WithFrozen(OnFeatures(system) if config.cached_features else system, frozen),
        optimizer,
        mesh=mesh,
        pairwise_block=config.pairwise_block or None,
        accumulate=config.accumulate,
        encode_micro_batches=config.encode_micro_batches,
    )
    if mesh is not None and mesh.size > 1:
        step = keep_placement(step, mesh, config.sharding.params)
    return optimizer, step
