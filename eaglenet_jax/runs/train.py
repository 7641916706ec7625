"""One training run: a config in a work directory, from the first step or from where it was stopped, to its results."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.results import StageResult
from eaglenet_jax.runs.evaluate import EvaluatedStage, saved_parameters, stage_result, zero_shot_metrics
from eaglenet_jax.runs.experiment import Experiment, check_config, open_experiment
from eaglenet_jax.runs.page import draw_strips, measure_stage, write_run_page
from eaglenet_jax.runs.saved_config import differences
from eaglenet_jax.runs.split import evaluate_split
from eaglenet_jax.runs.stage import train_stage
from eaglenet_jax.runs.workdir import (
    PICTURE_FILE,
    REPORT_FILE,
    claim,
    exclusive,
    first_stage_folder,
    read_result,
    write_result,
)
from eaglenet_jax.training.loop import Best
from eaglenet_jax.training.sharding import Devices, initialize_distributed


def train_run(config: Any, workdir: Path) -> list[StageResult]:
    """Trains, evaluates the best checkpoint and writes everything under `workdir` → results, earlier stages first.

    A work directory that holds an unfinished run of this config goes on; a finished one only gives its results again.
    Everything that config and work directory can have wrong is found before the first step of the first stage. Raises
    UserError for a work directory of another config or that another process trains in, and for everything that config
    and data can have wrong; Stopped when a signal asked for it, with everything saved.
    """
    if config.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(config.compilation_cache).expanduser().absolute()))
    check_run(config)
    stages = _stages(config, Path(workdir))
    with exclusive(Path(workdir)):
        for stage, folder in reversed(stages):
            claim(stage, folder)
        results: list[StageResult] = []
        for stage, folder in stages:
            results.append(_stage_result(stage, folder, results))
        return results


def check_run(config: Any) -> None:
    """UserError for what a config and its stages can be told to have wrong before any data are opened.

    With several processes, all of them meet here first.
    """
    initialize_distributed(as_plain(config.distributed))
    for stage, _ in _stages(config, Path()):
        check_config(stage)


def _stages(config: Any, workdir: Path) -> list[tuple[Any, Path]]:
    """The config and what it starts from, earliest first, each with its directory."""
    if not config.first_stage:
        return [(config, workdir)]
    for field in ("data", "clip"):
        changes = differences(as_plain(config.first_stage[field]), as_plain(config[field]), field)
        if changes:
            raise UserError(f"the two stages differ in {'; '.join(changes)} (first_stage first); give both the same")
    return [*_stages(config.first_stage, first_stage_folder(workdir)), (config, workdir)]


def _stage_result(config: Any, workdir: Path, earlier: Sequence[StageResult]) -> StageResult:
    finished = read_result(workdir)
    if finished is not None:
        return finished
    experiment = open_experiment(config, prepare=True)
    # Not written into the config: a work directory may be moved, and says the same wherever it is.
    source = str(first_stage_folder(workdir)) if config.first_stage else config.init_from
    best, seconds = train_stage(experiment, workdir, source)
    return _finish(experiment, workdir, best, seconds, earlier)


def _finish(
    experiment: Experiment, workdir: Path, best: Best, seconds: float, earlier: Sequence[StageResult]
) -> StageResult:
    """Evaluates the best checkpoint on validation and test, and writes metrics.json, retrieval.png and report.html."""
    loaded = saved_parameters(experiment, workdir, best.step)
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    splits = [split for split in ("val", "test") if split in experiment.dataset.manifest["splits"]]
    evaluations = {split: evaluate_split(experiment, loaded.params, split, mesh=mesh) for split in splits}
    result = stage_result(experiment, str(workdir), evaluations, loaded, seconds)
    result = dataclasses.replace(result, zero_shot=zero_shot_metrics(experiment, loaded, splits))
    if jax.process_index() == 0:
        write_result(result, workdir)
        stage = EvaluatedStage(result, experiment, loaded.params, evaluations[splits[-1]])
        try:
            draw_strips(workdir / PICTURE_FILE, stage.evaluation, experiment.config)
            write_run_page(workdir / REPORT_FILE, [*earlier, result], stage, measure_stage(stage))
        except Exception as error:  # whatever a picture fails of, the training is done and its numbers are written
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"warning: no {REPORT_FILE} or picture: {reason}", file=sys.stderr)
    return result
