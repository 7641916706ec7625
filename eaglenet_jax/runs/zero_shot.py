"""The zero-shot row of every table: the CLIP that a run started from, with mean pooling and no training."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.loading import config_hash
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.metrics.ranks import RetrievalPlacement
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.runs.evaluate_split import evaluate_split
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.export import exported_folder, read_export
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.saved_config import has_config
from eaglenet_jax.runs.saved_ranks import load_ranks
from eaglenet_jax.runs.workdir import (
    RANKS_FILE,
    LoadedCheckpoint,
    checkpoint_record,
    has_checkpoints,
    read_result,
)
from eaglenet_jax.system import System, build_clip_config
from eaglenet_jax.training.checkpoints import package_versions
from eaglenet_jax.training.sharding import Devices

PRE_TRAINED, UNTRAINED = "zero-shot CLIP", "untrained CLIP"
CLIP_PROGRAMS = ("openai", "hf", "open_clip")  # sources of `convert` that hold a CLIP as it was published
RANKS = "zero_shot"  # before the split's name in a run's file of ranks


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """CLIP before training; without a name and empty where it cannot be loaded.

    Attributes:
        name: Of its row in tables.
        metrics: By split.
        ranks: By split.
    """

    name: str = ""
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ranks: Mapping[str, RetrievalPlacement] = dataclasses.field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        """Return {"name": …, split: metrics}, as a `StageResult` has it."""
        return {"name": self.name, **self.metrics} if self.name else {}

    def named_ranks(self) -> dict[str, RetrievalPlacement]:
        """Return the ranks by the names that they have in a run's file of ranks."""
        return {f"{RANKS}/{split}": ranks for split, ranks in self.ranks.items()}


def saved_zero_shot(experiment: Experiment, loaded: LoadedCheckpoint, workdir: Path, split: str) -> ZeroShot | None:
    """Read what `evaluate_zero_shot` found when a run was trained; None where it is not known, or not the same now.

    Args:
        experiment: Of the run.
        loaded: Its checkpoint.
        workdir: Its work directory.
        split: Of the evaluation.
    """
    result = read_result(workdir)
    if result is None or split not in result.zero_shot or jax.process_count() > 1:
        return None
    if result.config_hash != config_hash(experiment.config):
        return None
    # Videos that were left out and are there now change the hash of their split alone.
    hashes = experiment.dataset.manifest.get("split_hashes", {})
    if loaded.data_fingerprint != experiment.dataset.fingerprint or split not in hashes:
        return None
    if result.split_hash.get(split) != hashes[split] or result.versions != package_versions():
        return None
    try:
        ranks = load_ranks(workdir / RANKS_FILE)
        return ZeroShot(result.zero_shot["name"], {split: result.zero_shot[split]}, {split: ranks[f"{RANKS}/{split}"]})
    except (UserError, KeyError):  # damaged, or of an earlier version: it is measured again
        return None


def evaluate_zero_shot(
    experiment: Experiment,
    loaded: LoadedCheckpoint,
    splits: Sequence[str],
    shuffle_frames: bool = False,
    progress: Progress = no_progress,
) -> ZeroShot:
    """Measure CLIP before training; where it cannot be loaded, print a warning."""
    try:
        name, before, params = zero_shot_clip(experiment, loaded.converted_from, loaded.params)
    except UserError as error:
        if jax.process_index() == 0:
            print(f"warning: no zero-shot row: {error}", file=sys.stderr)
        return ZeroShot()
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    each = {split: evaluate_split(before, params, split, shuffle_frames, mesh, progress) for split in splits}
    return ZeroShot(
        name,
        {split: dict(evaluation.metrics) for split, evaluation in each.items()},
        {split: evaluation.placement for split, evaluation in each.items()},
    )


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
