"""The row that every table starts with: the CLIP that a run began with, mean pooling of its frames, no training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from eaglenet_jax.clip.model import Clip
from eaglenet_jax.configuration import saved_config
from eaglenet_jax.experiment import Experiment
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.initial_parameters import CHECKPOINTS, CONFIG_FILE, initial_parameters
from eaglenet_jax.system import System

PRE_TRAINED, UNTRAINED = "zero-shot CLIP", "untrained CLIP"


def zero_shot_clip(experiment: Experiment) -> tuple[str, Experiment, Any]:
    """(name of the row, experiment, parameters) of CLIP as it was before any training of this run.

    As published: without token shift, padding frames left out. A run that started from random parameters has no
    pre-trained CLIP; the row then shows those and says so. Raises UserError if the weights are not there any more.
    """
    source, seed = _first_source(experiment.config)
    clip = dataclasses.replace(experiment.system.clip.config, shift_blocks=(), mask_padding=True)
    system = System(Clip(clip), Clip4Clip(clip.embed_dim), experiment.system.max_words, experiment.system.max_frames)
    params = initial_parameters(system, source, seed)
    return PRE_TRAINED if source else UNTRAINED, dataclasses.replace(experiment, system=system), params


def _first_source(config: Any) -> tuple[str, int]:
    """`init_from` and seed of the first stage, through `pretrain` and through the work directories of other runs."""
    while config.pretrain:
        config = config.pretrain
    folder = Path(config.init_from) if config.init_from else None
    if folder is not None and (folder / CHECKPOINTS).is_dir() and (folder / CONFIG_FILE).is_file():
        return _first_source(saved_config(folder / CONFIG_FILE))
    return config.init_from, config.seed
