"""The zero-shot row of every table: the CLIP that a run started from, with mean pooling and no training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from eaglenet_jax.clip.model import Clip
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.export import exported_folder, read_export
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.saved_config import has_config
from eaglenet_jax.runs.workdir import checkpoint_record, has_checkpoints
from eaglenet_jax.system import System, build_clip_config

PRE_TRAINED, UNTRAINED = "zero-shot CLIP", "untrained CLIP"


CLIP_PROGRAMS = ("openai", "hf", "open_clip")  # sources of `convert` that hold a CLIP as it was published


def zero_shot_clip(experiment: Experiment, converted_from: str, trained: Any) -> tuple[str, Experiment, Any]:
    """Build CLIP as it was before any training → (name of the row, experiment, parameters).

    As published: without token shift, padding frames left out; an exported model as it was exported. A run that
    started from random parameters has no pre-trained CLIP; the row then shows those and says so. converted_from: the
    program whose checkpoint `trained` is, or empty. Raises UserError where the CLIP that training started from is not
    to be had.
    """
    clip = dataclasses.replace(experiment.system.clip.config, shift_blocks=(), mask_padding=True)
    system = System(Clip(clip), Clip4Clip(clip.embed_dim), experiment.system.max_words, experiment.system.max_frames)
    before = dataclasses.replace(experiment, system=system)
    if converted_from in CLIP_PROGRAMS:
        return PRE_TRAINED, before, {**initial_parameters(system, "", 0), "clip": trained["clip"]}
    _refuse_unless_clip(converted_from)
    source, seed = _first_source(experiment.config)
    exported = exported_folder(source) if source else None
    if exported is not None:  # trained as it is, with the token shift that it has
        system = dataclasses.replace(system, clip=Clip(build_clip_config(read_export(exported)[0]["clip"])))
        before = dataclasses.replace(experiment, system=system)
    return PRE_TRAINED if source else UNTRAINED, before, initial_parameters(system, source, seed)


def _first_source(config: Any) -> tuple[str, int]:
    """`init_from` and seed of the first stage, through `first_stage` and through the work directories of other runs."""
    while config.first_stage:
        config = config.first_stage
    folder = Path(config.init_from) if config.init_from else None
    if folder is None or not has_checkpoints(folder) or not has_config(folder):
        return config.init_from, config.seed
    record = checkpoint_record(folder)
    if record.converted_from in CLIP_PROGRAMS:
        return config.init_from, config.seed
    _refuse_unless_clip(record.converted_from)
    return _first_source(record.config)


def _refuse_unless_clip(program: str) -> None:
    """Raise a UserError for a checkpoint of a program that trained CLIP further."""
    if program:
        raise UserError(f"a checkpoint of {program} does not hold the CLIP that its training started from")
