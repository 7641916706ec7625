"""One training run: a config in a work directory, from the first step or from where it was stopped, to its results."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from eaglenet_jax.compilation_cache import choose_cache
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.vision_tokens import COMMAND
from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.metrics.ranks import RetrievalPlacement
from eaglenet_jax.progress import ProgressBars
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.evaluate import EvaluatedStage, saved_parameters, stage_result
from eaglenet_jax.runs.evaluate_split import evaluate_split
from eaglenet_jax.runs.experiment import Experiment, open_experiment
from eaglenet_jax.runs.initial_parameters import fetch_source
from eaglenet_jax.runs.length import (
    LENGTH_FIELDS,
    changed_length,
    finished_result,
    length_of,
    length_of_result,
)
from eaglenet_jax.runs.page import draw_strips, measure_stage, stage_name, strips_of, write_run_page
from eaglenet_jax.runs.plan import RunPlan, StagePlan, plan_run, run_stages
from eaglenet_jax.runs.saved_config import has_config, saved_config
from eaglenet_jax.runs.saved_ranks import load_ranks, save_ranks
from eaglenet_jax.runs.start_block import start_block
from eaglenet_jax.runs.step_memory import memory_row
from eaglenet_jax.runs.train_stage import train_stage
from eaglenet_jax.runs.workdir import (
    PICTURE_FILE,
    RANKS_FILE,
    REPORT_FILE,
    check_claim,
    claim,
    exclusive,
    read_result,
    write_result,
)
from eaglenet_jax.runs.zero_shot import evaluate_zero_shot
from eaglenet_jax.training.loop import Best
from eaglenet_jax.training.sharding import Devices, initialize_distributed


def train_run(config: Any, workdir: Path) -> list[StageResult]:
    """Train, evaluate the best checkpoint and write everything under `workdir`.

    A work directory that holds an unfinished run of this config is trained further, a finished one gives its results
    again. If only the length fields of the last stage changed (`length.LENGTH_FIELDS`) and training has not got that
    far yet, the run is trained to its new end. Errors in config, data and work directory are found before the first
    step of the first stage.

    Args:
        config: Resolved.
        workdir: Made where it is not there.

    Returns:
        Results, earlier stages first.

    Raises:
        UserError: a work directory of another config, or one that another process trains in; config or data that are
            wrong.
        Stopped: a signal asked for it; everything is saved.
    """
    workdir = Path(workdir)
    _prepare_process(config)
    stages = run_stages(config, workdir)
    for stage, folder in reversed(stages):
        check_claim(stage, folder, LENGTH_FIELDS if folder == workdir else ())
    already = [result for stage, folder in stages if (result := finished_result(stage, folder)) is not None]
    if len(already) == len(stages):
        with exclusive(workdir):
            for stage, folder in reversed(stages):
                _claim(stage, folder, workdir)
            return already
    plan, note, experiments = _checked(config, workdir)
    if jax.process_count() > 1:  # a claim overwrites what the other processes decide by
        multihost_utils.sync_global_devices("the run is checked")
    with exclusive(workdir):
        if not jax.process_index():
            print(start_block(plan, note), flush=True)
        for planned in plan.stages:
            if planned.finished is None:  # before the folder is claimed, which another config could not use then
                fetch_source(planned.source)
        if plan.data.missing:
            experiments = _opened_stages(plan)
        for stage, folder in reversed(stages):
            _claim(stage, folder, workdir)
        results: list[StageResult] = []
        folders = [planned.folder for planned in plan.stages]
        for planned, experiment in zip(plan.stages, experiments, strict=True):
            finished = planned.finished
            if finished is None:
                experiment = experiment or open_experiment(planned.config)
                best, seconds = train_stage(experiment, planned)
                earlier = list(zip(results, folders, strict=False))
                finished = _finish(experiment, planned.folder, best, seconds, earlier)
            results.append(finished)
        return results


def describe_run(config: Any, workdir: Path) -> str:
    """Check a run as `train_run` does and describe it; nothing is rendered or written.

    Where the memory of the devices is known, the step of every stage is compiled and compared with it.

    Raises:
        UserError: as `train_run`, for everything that is found before the first step.
    """
    _prepare_process(config)
    for stage, folder in reversed(run_stages(config, workdir)):
        check_claim(stage, folder, LENGTH_FIELDS if folder == Path(workdir) else ())
    plan, note, _ = _checked(config, workdir)
    rows = [(number, memory_row(stage)) for number, stage in enumerate(plan.stages, 1) if not stage.finished]
    several = len(plan.stages) > 1
    return start_block(plan, note, [f"stage {number}: {row}" if several else row for number, row in rows if row])


def _ranks_of(folder: Path) -> dict[str, RetrievalPlacement]:
    """Read the ranks of an earlier stage; {} with a warning where they are damaged, since only a comparison is lost."""
    try:
        return load_ranks(folder / RANKS_FILE)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)
        return {}


def _prepare_process(config: Any) -> None:
    """Join the other processes and choose the compilation cache, before anything is compiled."""
    initialize_distributed(as_plain(config.distributed))
    choose_cache(config.compilation_cache)


def _checked(config: Any, workdir: Path) -> tuple[RunPlan, str, list[Experiment | None]]:
    """Plan a run and check all that is checked before its first step → (plan, `length_note`, its opened stages).

    No stage is opened where the data are missing.
    """
    plan = plan_run(config, workdir)
    note = length_note(plan)
    if not plan.data.missing:
        return plan, note, _opened_stages(plan)
    for stage in plan.stages:
        source = stage.system.head.second_encoder()
        if source and not stage.finished and not _encoder_of_this_run(stage, plan):
            raise UserError(f"{plan.data.folder} is not there yet, and so holds no tokens of {source}; {COMMAND}")
    return plan, note, [None] * len(plan.stages)


def _say(line: str) -> None:
    """Print a line on what is being done, once."""
    if not jax.process_index():
        print(line, flush=True)


def length_note(plan: RunPlan) -> str:
    """One line on what a new length does to an existing run, see `changed_length`; empty if it is unchanged."""
    last = plan.stages[-1]
    return changed_length(last, saved_config(last.folder)) if has_config(last.folder) else ""


def _opened_stages(plan: RunPlan) -> list[Experiment | None]:
    """Open every stage that is not finished, the last one first; data that are missing are rendered and prepared."""
    return [None if stage.finished else _opened(stage, plan) for stage in reversed(plan.stages)][::-1]


def _opened(stage: StagePlan, plan: RunPlan) -> Experiment:
    """Open the data and system of a stage, so that missing inputs are reported before an earlier stage trains."""
    experiment = open_experiment(stage.config, prepare=plan.data.missing)
    if experiment.dataset.extra and not _encoder_of_this_run(stage, plan):
        for split in ("train", experiment.selection_split):
            experiment.dataset.split(split)
    return experiment


def _encoder_of_this_run(stage: StagePlan, plan: RunPlan) -> bool:
    """Whether the second encoder of a stage is one that an earlier stage trains."""
    source = stage.system.head.second_encoder()
    return bool(source) and Path(source).absolute().is_relative_to(plan.workdir.absolute())


def _claim(config: Any, folder: Path, workdir: Path) -> None:
    """Claim the folder of a stage; the last stage may have another length than it had.

    Older results do not record their length. The old length is recorded before the config is overwritten; otherwise an
    interrupted longer run would look finished.
    """
    result = read_result(folder)
    if result is not None and not result.length and not jax.process_index():
        write_result(dataclasses.replace(result, length=length_of_result(result, folder)), folder)
    claim(config, folder, LENGTH_FIELDS if folder == workdir else ())


def _finish(
    experiment: Experiment, workdir: Path, best: Best, seconds: float, earlier: Sequence[tuple[StageResult, Path]]
) -> StageResult:
    """Evaluate the best checkpoint on validation and test, and write metrics.json, retrieval.png and report.html.

    earlier: results and work directories of the stages before.
    """
    loaded = saved_parameters(experiment, workdir, best.step)
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    splits = [split for split in ("val", "test") if split in experiment.dataset.manifest["splits"]]
    _say(f"{experiment.config.name}: evaluating the checkpoint of step {best.step} on {' and '.join(splits)}")
    with ProgressBars() as progress:
        evaluations = {
            split: evaluate_split(experiment, loaded.params, split, mesh=mesh, progress=progress) for split in splits
        }
        result = stage_result(experiment, str(workdir), evaluations, loaded, seconds)
        _say(f"{experiment.config.name}: evaluating CLIP before training, the zero-shot row of the tables")
        zero_shot = evaluate_zero_shot(experiment, loaded, splits, progress=progress)
    result = dataclasses.replace(result, zero_shot=zero_shot.as_result(), length=length_of(experiment.config))
    if jax.process_index() == 0:
        placed = {split: evaluation.placement for split, evaluation in evaluations.items()}
        save_ranks(workdir / RANKS_FILE, placed | zero_shot.named_ranks())
        write_result(result, workdir)
        shown = splits[-1]
        _say(f"{experiment.config.name}: drawing {PICTURE_FILE} and {REPORT_FILE}")
        stage = EvaluatedStage(result, experiment, loaded.params, evaluations[shown], zero_shot.ranks.get(shown))
        try:
            strips = strips_of(stage)
            draw_strips(workdir / PICTURE_FILE, stage, strips)
            before = [
                (stage_name(other), ranks[shown]) for other, folder in earlier if shown in (ranks := _ranks_of(folder))
            ]
            results = [*(other for other, _ in earlier), result]
            write_run_page(workdir / REPORT_FILE, results, stage, measure_stage(stage), before, strips)
        except Exception as error:  # a picture that fails must not fail a finished training
            print(f"warning: no {REPORT_FILE} or picture: {first_line(error)}", file=sys.stderr)
    return result
