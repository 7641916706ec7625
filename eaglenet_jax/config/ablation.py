"""Rows of an ablation table: a named change each, laid over the config of a dataset."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.defaults import merged
from eaglenet_jax.config.loading import config_folder
from eaglenet_jax.config.systems import SYSTEMS, system_recipe
from eaglenet_jax.errors import UserError

DATASETS = ("demo", "msrvtt", "didemo", "msvd", "vatex", "activitynet", "lsmdc", "charades")
Rows = Mapping[str, Mapping[str, Any]]  # name of a row → changes of the config


NAMES = {"eaglenet": "EagleNet", "shenet": "SHE-Net", "crosstvr": "CrossTVR"}


def ablated(table: str, rows: Rows, argument: str, system: str = "eaglenet") -> ConfigDict:
    """The config of one row of a table about a system.

    argument: the row, a dataset (default: msrvtt) and the words that the dataset takes, by comma: "frl,didemo,b16".
    """
    words = [word.strip() for word in argument.split(",") if word.strip()]
    row = next((word for word in words if word in rows), None)
    if row is None:
        raise UserError(f"--config: name a row of this table behind the colon; there are: {', '.join(rows)}")
    datasets = [word for word in words if word in DATASETS] or ["msrvtt"]
    if len(datasets) > 1:
        raise UserError(f"--config: {' and '.join(datasets)} exclude each other; give one of them")
    words.remove(row)  # once: what comes behind it is for the dataset
    rest = [word for word in words if word not in datasets]
    asked = [word for word in rest if word in SYSTEMS] or [system]
    if system_recipe(asked[0]).head != system:
        raise UserError(f"--config: the table {table} is about {NAMES[system]}, not {asked[0]}")
    words = [*(word for word in rest if word not in asked), *asked]
    config = runpy.run_path(str(config_folder() / f"{datasets[0]}.py"))["get_config"](",".join(words))
    config.update(merged(rows[row], {}))
    if rows[row]:
        config.claim = ""  # a paper's number is that of the whole system
    config.name = f"{config.name}_{table}_{row}"
    return config
