"""Rows of an ablation table: a named change each, laid over the config of a dataset."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.defaults import change
from eaglenet_jax.config.loading import config_folder, config_names
from eaglenet_jax.config.systems import SYSTEMS, system_recipe
from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import head_class

Rows = Mapping[str, Mapping[str, Any]]  # name of a row → changes of the config


def dataset_names() -> tuple[str, ...]:
    """Datasets that a table can be about: the files of the folder of configs."""
    return tuple(name for name in config_names() if "/" not in name)


def ablated(table: str, rows: Rows, argument: str, system: str = "eaglenet", *, trained: bool = True) -> ConfigDict:
    """The config of one row of a table about a system.

    argument: the row, a dataset (default: msrvtt) and the words that the dataset takes, by comma: "frl,didemo,b16".
    trained: The rows change what is trained, so that stages before with the same head are changed too.
    """
    words = [word.strip() for word in argument.split(",") if word.strip()]
    row = next((word for word in words if word in rows), None)
    if row is None:
        raise UserError(f"--config: name a row of this table behind the colon; there are: {', '.join(rows)}")
    datasets = [word for word in words if word in dataset_names()] or ["msrvtt"]
    if len(datasets) > 1:
        raise UserError(f"--config: {' and '.join(datasets)} exclude each other; give one of them")
    words.remove(row)  # once: what comes behind it is for the dataset
    rest = [word for word in words if word not in datasets]
    asked = [word for word in rest if word in SYSTEMS] or [system]
    if system_recipe(asked[0]).head != system:
        raise UserError(f"--config: the table {table} is about {head_class(system).__name__}, not {asked[0]}")
    words = [*(word for word in rest if word not in asked), *asked]
    config = runpy.run_path(str(config_folder() / f"{datasets[0]}.py"))["get_config"](",".join(words))
    change(config, rows[row])
    stage = config.first_stage
    while trained and stage:
        if stage.system == config.system:  # the same head, as of CrossTVR on MovingShapes
            change(stage, rows[row])
            stage.name = f"{stage.name}_{table}_{row}"
        stage = stage.first_stage
    if config.claim:
        # The numbers of the row in the paper's table; a row that changes nothing has those of the system as well.
        of_row = f"{config.claim}/{table}/{row}"
        config.claim = of_row if rows[row] else f"{of_row},{config.claim}"
    config.name = f"{config.name}_{table}_{row}"
    return config
