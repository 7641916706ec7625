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

from eaglenet_jax.config.checking import SPLIT_OF_SELECTION, check_config
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.experiment import prepared_folder
from eaglenet_jax.runs.initial_parameters import check_shapes
from eaglenet_jax.runs.saved_config import differences
from eaglenet_jax.runs.workdir import first_stage_folder
from eaglenet_jax.system import System
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.sharding import initialize_distributed

DEMO_DATA = "moving_shapes"


@dataclasses.dataclass(frozen=True)
class PlannedData:
    """What is known of the data before they are opened.

    Attributes:
        folder: Where the prepared data lie, or will lie.
        splits: By split, the numbers of (clips, captions).
        size: Side of the stored frames in pixels.
        missing: Whether they still have to be rendered and prepared, which the training does.
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
        passes: Passes over the training captions, the last one perhaps not complete.
    """

    config: Any
    folder: Path
    source: str
    system: System
    shapes: Any
    optimizer: Mapping[str, Any]
    steps: int
    evaluate_every: int
    passes: float


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
    data = planned_data(config.data)
    planned = []
    for depth, ((stage, folder), (system, shapes)) in enumerate(zip(stages, described, strict=True)):
        with _named_as_flags(depth):
            planned.append(_plan_stage(stage, folder, system, shapes, data))
    for later, earlier in itertools.pairwise(planned):
        _check_start(later, earlier)
    return RunPlan(Path(workdir), tuple(reversed(planned)), data)


def _check_start(later: StagePlan, earlier: StagePlan) -> None:
    """UserError if a stage cannot start from what the stage before it trains."""
    head = later.shapes["head"]
    started = later.system.head.start_from_head(head, earlier.system.head, earlier.shapes["head"])
    if started is not None:
        check_shapes(head, started, f"{later.config.name} cannot start from {earlier.config.name}")


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
    steps = config.steps or int(config.epochs * per_pass)
    if not steps:
        raise UserError(
            f"config.epochs={config.epochs} of {per_pass} batches is not one step; give more, or config.steps"
        )
    system.head.start_from_files(shapes["head"], {"blip2": _check_folder})
    try:
        make_optimizer(settings, shapes, steps)
    except UserError as error:
        raise UserError(f"config.{error}") from error
    return StagePlan(
        config=config,
        folder=folder,
        source=str(first_stage_folder(folder)) if config.first_stage else config.init_from,
        system=system,
        shapes=shapes,
        optimizer=settings,
        steps=steps,
        evaluate_every=config.evaluation.every or per_pass,
        passes=steps / per_pass,
    )


def _check_folder(params: Any, shape: Any, folder: str) -> Any:
    """Stand-in for the BLIP-2 reader while planning: only checks that the folder exists."""
    del shape
    if not Path(folder).is_dir():
        raise UserError(f"config.head.blip2: no folder {folder!r}; give that of a BLIP-2 checkpoint, or leave it out")
    return params


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
    """What `make_optimizer` takes, from a config. unused: patterns of the head's parameters that nothing depends on."""
    settings = as_plain(config.optimizer)
    settings["freeze"] = [*(f"head/{pattern}" for pattern in unused), *settings["freeze"].split(",")]
    return settings


def planned_data(data: Any) -> PlannedData:
    """What `config.data` describes, rendered already or not.

    Raises:
        UserError: there are no such prepared data, and they are not the demo's, which are rendered.
    """
    if data.dataset == DEMO_DATA and not data.prepared:
        from data_prep import demo  # late: nothing else needs the renderer

        splits: dict[str, int] = dict(data.splits.items())
        wanted = demo.DemoData(Path(data.root), splits, data.seed, data.fps, data.size)
        folder = wanted.folder
        if not wanted.is_prepared():
            rendered = {
                demo.SPLIT_NAMES.get(name, name): (clips, demo.CAPTIONS_PER_CLIP * clips)
                for name, clips in splits.items()
            }
            return PlannedData(folder, rendered, data.size, missing=True)
    else:
        folder = prepared_folder(data)
    dataset = PreparedDataset.open(folder)
    counts = {name: (split["videos"], split["captions"]) for name, split in dataset.manifest["splits"].items()}
    return PlannedData(folder, counts, dataset.size, missing=False)


def _check_data(config: Any, system: System, data: PlannedData) -> int:
    """Return the number of batches in one pass. UserError if config and data do not fit each other."""
    wanted = system.clip.config.image_size
    if data.size != wanted:
        raise UserError(
            f"the prepared frames are {data.size} pixels wide, this CLIP reads {wanted}; "
            f"prepare the data again with --size={wanted}"
        )
    if "train" not in data.splits:
        raise UserError(f"{data.folder} has no split 'train' to train on; it has {', '.join(data.splits)}")
    split = SPLIT_OF_SELECTION[config.selection]
    if split not in data.splits:
        raise UserError(
            f"{data.folder} has no split {split!r} to choose the best checkpoint on; "
            "prepare the data with held-out videos, or give --config.selection=test"
        )
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
