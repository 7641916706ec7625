"""A finished run on rendered MovingShapes, opened with what its clips show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from data_prep.moving_shapes.render import Shot, describe
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.experiment import Experiment, demo_data, open_experiment
from eaglenet_jax.runs.workdir import load_checkpoint


class MovingShapesRun(NamedTuple):
    """A run and its clips.

    experiment: its config, opened. params: of the best checkpoint. annotations: sentences with their events. shots: by
    video id, its events in their order.
    """

    experiment: Experiment
    params: Any
    annotations: dict[str, Any]
    shots: dict[str, tuple[Shot, ...]]


def open_run(workdir: Path) -> MovingShapesRun:
    """Open the work directory of a run.

    Raises:
        UserError: It holds no run, or one on other data.
    """
    loaded = load_checkpoint(workdir)
    data = demo_data(loaded.config.data)
    if data is None:
        raise UserError(f"{workdir} was not trained on rendered MovingShapes; give a run of configs on it")
    return MovingShapesRun(
        open_experiment(loaded.config), loaded.params, *describe(dict(data.splits), data.seed, data.events)
    )
