"""The plan of a run: its stages with configs, folders and steps, checked before anything is trained or rendered."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.config.checking import check_config
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.blip2 import planned_start
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.experiment import check_fit, demo_data, prepared_folder, steps_in_all
from eaglenet_jax.runs.initial_parameters import check_shapes, check_source
from eaglenet_jax.runs.length import finished_result
from eaglenet_jax.runs.saved_config import differences
from eaglenet_jax.runs.workdir import first_stage_folder
from eaglenet_jax.system import System
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.sharding import initialize_distributed

FROZEN_CLIP = "clip/.*"  # as `optimizer.freeze`


@dataclasses.dataclass(frozen=True)
class PlannedData:
    """Facts about the data that are known before they are opened.

    Attributes:
        folder: Where the prepared data lie, or will lie.
        splits: By split, the numbers of (clips, captions).
        size: Side of the stored frames in pixels.
        missing: Whether they, or a part of them, still have to be made, which the training does.
    """

    folder: Path
    splits: Mapping[str, tuple[int, int]]
    size: int
    missing: bool


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One stage of a run.

    Attributes:
        config: Resolved.
        folder: Its work directory.
        source: What its first step starts from, see `initial_parameters`.
        system: Encoders and head.
        shapes: Of the system's parameters, a tree of `jax.ShapeDtypeStruct`.
        optimizer: What `make_optimizer` takes.
        steps: Updates in all.
        evaluate_every: Updates between evaluations.
        per_pass: Batches in one pass over the training captions.
        finished: Its result, where it has reached the length of its config already.
    """

    config: Any
    folder: Path
    source: str
    system: System
    shapes: Any
    optimizer: Mapping[str, Any]
    steps: int
    evaluate_every: int
    per_pass: int
    finished: StageResult | None

    @property
    def passes(self) -> float:
        """Passes over the training captions, the last one perhaps not complete."""
        return self.steps / self.per_pass


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run: its stages, earliest first, all on the same data. workdir: of the run, which is that of its last stage."""

    workdir: Path
    stages: tuple[StagePlan, ...]
    data: PlannedData


def plan_run(config: Any, workdir: Path) -> RunPlan:
    """Plan a run and check all of it; nothing is written, rendered, compiled or trained.

    With several processes, all of them meet here first.

    Args:
        config: Resolved, with what is trained first in `first_stage`.
        workdir: Where the run will be written.

    Raises:
        UserError: Configs, data or the number of devices are wrong or do not fit each other.
    """
    initialize_distributed(as_plain(config.distributed))
    # The last stage first, so that an error in a shared override names the flag without first_stage.
    stages = list(reversed(run_stages(config, workdir)))
    described = []
    for depth, (stage, _) in enumerate(stages):
        with _named_as_flags(depth):
            described.append(check_config(stage))
    data = planned_data(config.data, syntax=any("syntax" in system.head.text_extra(1) for system, _ in described))
    planned = []
    for depth, ((stage, folder), (system, shapes)) in enumerate(zip(stages, described, strict=True)):
        with _named_as_flags(depth):
            planned.append(_plan_stage(stage, folder, system, shapes, data))
    for depth, (later, earlier) in enumerate(itertools.pairwise(planned)):
        with _named_as_flags(depth):
            _check_start(later, earlier)
    return RunPlan(Path(workdir), tuple(reversed(planned)), data)


def _check_start(later: StagePlan, earlier: StagePlan) -> None:
    """UserError if a stage cannot start from what the stage before it trains."""
    head = later.shapes["head"]
    started = later.system.head.start_from_head(head, earlier.system.head, earlier.shapes["head"])
    if started is not None:
        try:
            check_shapes(head, started, f"{later.config.name} cannot start from {earlier.config.name}")
        except UserError as error:
            if later.config.system != earlier.config.system:
                raise
            hint = f"both train {later.config.system}: change config.first_stage.head as well"
            raise UserError(f"{error}; {hint}") from error


@contextlib.contextmanager
def _named_as_flags(depth: int) -> Iterator[None]:
    """Name the fields of an earlier stage, `depth` stages before the last one, as the command line does."""
    try:
        yield
    except UserError as error:
        before = "first_stage." * depth
        raise UserError(re.sub(r"\bconfig\.(?!first_stage\b)", f"config.{before}", str(error))) from error


def _plan_stage(config: Any, folder: Path, system: System, shapes: Any, data: PlannedData) -> StagePlan:
    per_pass = _check_data(config, system, data)
    settings = optimizer_settings(config, system.head.unused_parameters())
    steps = steps_in_all(config, per_pass)
    if not steps:
        raise UserError(
            f"config.epochs={config.epochs} of {per_pass} batches is not one step; give more, or config.steps"
        )
    system.head.start_from_files(shapes["head"], {"blip2": _planned_blip2})
    try:
        make_optimizer(settings, shapes, steps)
    except UserError as error:
        raise UserError(f"config.{error}") from error
    finished = finished_result(config, folder)
    if config.init_from and finished is None:
        try:
            check_source(system, shapes, config.init_from)
        except UserError as error:
            raise UserError(f"config.init_from: {str(error).removeprefix('init_from=')}") from error
    return StagePlan(
        config=config,
        folder=folder,
        # Absolute: a folder and its first stage, before they are there, look like a repository of the hub.
        source=str(first_stage_folder(folder).absolute()) if config.first_stage else config.init_from,
        system=system,
        shapes=shapes,
        optimizer=settings,
        steps=steps,
        evaluate_every=config.evaluation.every or per_pass,
        per_pass=per_pass,
        finished=finished,
    )


def _planned_blip2(params: Any, shape: Any, source: str) -> Any:
    """`planned_start`, whose errors name the flag."""
    try:
        return planned_start(params, shape, source)
    except UserError as error:
        raise UserError(f"config.head.blip2={error}") from error


def run_stages(config: Any, workdir: Path) -> list[tuple[Any, Path]]:
    """The config of every stage, earliest first, each with its folder.

    Raises:
        UserError: two stages have other data or another CLIP.
    """
    workdir = Path(workdir)
    if not config.first_stage:
        return [(config, workdir)]
    for field in ("data", "clip"):
        changes = differences(as_plain(config.first_stage[field]), as_plain(config[field]), field)
        if changes:
            raise UserError(f"the two stages differ in {'; '.join(changes)} (first_stage first); give both the same")
    return [*run_stages(config.first_stage, first_stage_folder(workdir)), (config, workdir)]


def optimizer_settings(config: Any, unused: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of `make_optimizer`.

    Args:
        config: Resolved.
        unused: Patterns of the head's parameters that nothing depends on.
    """
    settings = as_plain(config.optimizer)
    given = settings["freeze"].split(",")
    if config.cached_features:
        given = [FROZEN_CLIP, *(pattern for pattern in given if pattern != FROZEN_CLIP)]
    settings["freeze"] = [*(f"head/{pattern}" for pattern in unused), *given]
    return settings


def planned_data(data: Any, syntax: bool = False) -> PlannedData:
    """Return the facts about the data that `config.data` describes, rendered already or not.

    Args:
        data: The part of a config.
        syntax: Of the demo, whether its captions must be parsed.

    Raises:
        UserError: there are no such prepared data, and they are not the demo's, which are rendered.
    """
    wanted = demo_data(data, syntax)
    if wanted is not None and not wanted.is_prepared():
        return PlannedData(wanted.folder, wanted.counts, data.size, missing=True)
    folder = prepared_folder(data, syntax)
    dataset = PreparedDataset.open(folder)
    counts = {name: (split["videos"], split["captions"]) for name, split in dataset.manifest["splits"].items()}
    return PlannedData(folder, counts, dataset.size, missing=False)


def _check_data(config: Any, system: System, data: PlannedData) -> int:
    """Return the number of batches in one pass. UserError if config and data do not fit each other."""
    check_fit(config, system, data.folder, data.size, data.splits)
    if "train" not in data.splits:
        raise UserError(f"{data.folder} has no split 'train' to train on; it has {', '.join(data.splits)}")
    clips, captions = data.splits["train"]
    if config.batch_size > captions:
        raise UserError(
            f"config.batch_size is {config.batch_size}, the training split of {data.folder} has {captions} captions of "
            f"{clips} clips; choose 1 to {captions}"
        )
    devices = jax.device_count()
    if config.batch_size % devices:
        raise UserError(
            f"config.batch_size {config.batch_size} does not divide over {devices} devices; choose a multiple of "
            f"{devices}"
        )
    return captions // config.batch_size
