"""The name of a run whose data are not those of its config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEMO_DATA = "moving_shapes"  # the dataset of the demo's config; without `data.prepared` it is rendered


def named_after_data(config: Any) -> Any:
    """The demo's config on other prepared data, with all its stages named after these; any other config as it is.

    The folder gives the name, or the one around it where it is called "prepared…".
    """
    folder = Path(config.data.prepared)
    if config.data.dataset != DEMO_DATA or not config.data.prepared or _dataset_of(folder) == DEMO_DATA:
        return config
    folder = folder.absolute()
    name = (folder.parent if folder.name.startswith("prepared") else folder).name
    config = config.copy_and_resolve_references()
    old, stage = config.name, config
    while stage:
        stage.name = stage.name.replace(old, name, 1)
        stage.data.dataset = name
        stage = stage.first_stage
    return config


def _dataset_of(folder: Path) -> str:
    """The dataset that a prepared folder says it is; the demo's where there is none, which is refused elsewhere."""
    try:
        return str(json.loads((folder / "manifest.json").read_text()).get("dataset", ""))
    except (OSError, ValueError, AttributeError):
        return DEMO_DATA
