"""Configs that adapt to the data that they are given: the name of the run, and what follows from data of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eaglenet_jax.clip.config import COMPUTATION
from eaglenet_jax.errors import UserError

DEMO_DATA = "moving_shapes"  # the dataset of the demo's config; without `data.prepared` it is rendered
OWN_DATA = "own"  # of the config `own`, which is for any data
OWN_COMMAND = "python -m data_prep.build --dataset=table --annotations=mine.csv --videos=DIR --out=datasets/mine"


def named_after_data(config: Any) -> Any:
    """The demo's config on other prepared data, or `own`, with all its stages named after these; others as they are.

    The folder gives the name, or the one around it where it is called "prepared…". `own` also takes the sizes of the
    CLIP that it starts from, and a batch no larger than the training split.

    Raises:
        UserError: `own` has no data, or its CLIP cannot be read.
    """
    folder = Path(config.data.prepared)
    if config.data.dataset == OWN_DATA:
        return _fitted(_named(config, folder))
    if config.data.dataset != DEMO_DATA or not config.data.prepared or _manifest(folder, DEMO_DATA) == DEMO_DATA:
        return config
    return _named(config, folder)


def no_folder(prepared: str, command: str) -> UserError:
    """Make the error of prepared data that are not there. command: makes them."""
    return UserError(
        f"config.data.prepared: no folder {prepared!r}; make it with {command}, or give another folder with "
        "--config.data.prepared=DIR"
    )


def _named(config: Any, folder: Path) -> Any:
    if not config.data.prepared:
        raise UserError(
            f"--config=own is for data of your own: prepare them with {OWN_COMMAND}, and give "
            "--config.data.prepared=datasets/mine"
        )
    folder = folder.absolute()
    if not folder.is_dir():
        raise no_folder(config.data.prepared, OWN_COMMAND)
    name = (folder.parent if folder.name.startswith("prepared") else folder).name
    config = config.copy_and_resolve_references()
    old, stage = config.name, config
    while stage:
        stage.name = stage.name.replace(old, name, 1)
        stage.data.dataset = name
        stage = stage.first_stage
    return config


def _fitted(config: Any) -> Any:
    """The config with the sizes of its CLIP, and with batches that its data can fill."""
    from eaglenet_jax.runs.initial_parameters import source_clip  # late: what reads work directories needs this module

    first = config
    while first.first_stage:
        first = first.first_stage
    clip = source_clip(first.init_from)
    captions = _manifest(Path(config.data.prepared), None, "splits", "train", "captions")
    stage = config
    while stage:
        if clip is not None:
            kept = {name: stage.clip[name] for name in COMPUTATION if name in stage.clip}
            sizes = {name: getattr(clip, name) for name in clip.__dataclass_fields__ if name not in COMPUTATION}
            kept["shift_blocks"] = tuple(block for block in kept["shift_blocks"] if block < clip.vision_layers)
            with stage.unlocked():
                stage.clip = type(stage.clip)({"name": "", **sizes, **kept})
        if captions:
            while stage.batch_size > captions:
                stage.batch_size //= 2
        stage = stage.first_stage
    return config


def _manifest(folder: Path, absent: Any, *path: str) -> Any:
    """An entry of the manifest of a prepared folder, its dataset by default; `absent` where it has none."""
    try:
        found = json.loads((folder / "manifest.json").read_text())
        for name in path or ("dataset",):
            found = found[name]
        return found
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return absent
