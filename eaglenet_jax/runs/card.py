"""Model card of a work directory: how the run was trained and what it reaches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eaglenet_jax.runs.export import model_card
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import RESULT_FILE


def workdir_card(workdir: Path, settings: Mapping[str, Any], command: str, how: str = "") -> str:
    """Write the model card of a run as Markdown.

    Args:
        workdir: Its work directory.
        settings: As `model_formats.read_workdir` returns them.
        command: What wrote it.
        how: Words that say how it was trained, instead of what the config says.
    """
    config = saved_config(workdir)
    try:
        metrics: Any = json.loads((workdir / RESULT_FILE).read_text())
    except (OSError, ValueError):
        metrics = {}
    training = how or (
        f"Trained by `python -m eaglenet_jax.train` on {config.data.dataset}: {config.steps or config.epochs} "
        f"{'updates' if config.steps else 'epochs'} of batches of {config.batch_size}, seed {config.seed}, started "
        f"from {_start(config)}. The config is in the run's `config.json`."
    )
    return model_card(settings, metrics, command, training)


def _start(config: Any) -> str:
    """Describe the initial parameters of a run, without folders of this machine."""
    if config.first_stage:
        stages: list[str] = []
        while config.first_stage:
            config = config.first_stage
            stages.insert(0, f"{config.steps} updates with {config.system}")
        return f"{' and '.join(stages)}, begun with {_start(config)}"
    return f"`{Path(config.init_from).name}`" if config.init_from else "random parameters"
