"""One training run: a config in a work directory, from the first step or from where it was stopped, to its results."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from eaglenet_jax.configuration import as_plain, config_hash, is_free, save_config, saved_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.experiment import Evaluation, Experiment, check_config, evaluate_split, open_experiment
from eaglenet_jax.initial_parameters import CHECKPOINTS, CONFIG_FILE, check_shapes
from eaglenet_jax.results import StageResult, draw_strips, read_result, write_result
from eaglenet_jax.retrieval.leak import check_leak, leak_report, rows_of_gallery
from eaglenet_jax.retrieval.saved_scores import save_scores
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.loop import Best
from eaglenet_jax.training.sharding import Devices, initialize_distributed
from eaglenet_jax.training_stage import train_stage

PRETRAIN = "pretrain"


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
    with _alone_in(Path(workdir)):
        for stage, folder in reversed(stages):
            _claim(stage, folder)
        return [_stage_result(stage, folder) for stage, folder in stages]


def check_run(config: Any) -> None:
    """UserError for what a config and its stages can be told to have wrong before any data are opened.

    With several processes, all of them meet here first.
    """
    initialize_distributed(as_plain(config.distributed))
    for stage, _ in _stages(config, Path()):
        check_config(stage)


@contextlib.contextmanager
def _alone_in(workdir: Path) -> Iterator[None]:
    """Holds a lock on the work directory, which the system takes back from a killed process."""
    if jax.process_index():
        yield  # the first process holds it for all
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(workdir / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another process is training in {workdir}; wait for it, or give another --workdir") from error
    except OSError as error:
        raise UserError(f"cannot write into --workdir {workdir}: {error.strerror}; give another one") from error
    try:
        yield
    finally:
        lock.release()


def _stages(config: Any, workdir: Path) -> list[tuple[Any, Path]]:
    """The config and what it starts from, earliest first, each with its directory."""
    if not config.pretrain:
        return [(config, workdir)]
    for field in ("data", "clip"):
        changes = _differences(as_plain(config.pretrain[field]), as_plain(config[field]), field)
        if changes:
            raise UserError(f"the two stages differ in {'; '.join(changes)} (pretrain first); give both the same")
    return [*_stages(config.pretrain, workdir / PRETRAIN), (config, workdir)]


def _stage_result(config: Any, workdir: Path) -> StageResult:
    finished = read_result(workdir)
    if finished is not None:
        return finished
    experiment = open_experiment(config)
    # Not written into the config: a work directory may be moved, and says the same wherever it is.
    source = str(workdir / PRETRAIN) if config.pretrain else config.init_from
    best, seconds = train_stage(experiment, workdir, source)
    return _finish(experiment, workdir, best, seconds)


def _claim(config: Any, workdir: Path) -> None:
    """Writes the resolved config, or checks that the directory already holds this one."""
    file = workdir / CONFIG_FILE
    if file.is_file():
        changes = _differences(as_plain(saved_config(file)), as_plain(config))
        if changes:
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(changes)}); give another --workdir, or delete it"
            )
    if jax.process_index() == 0:
        # Also over one that differs in free fields: the work directory tells what was used last.
        save_config(config, file)


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]
    same = old == new or is_free(name)
    return [] if same else [f"{name}: {old!r} there, {new!r} now"]


def _saved_parameters(experiment: Experiment, workdir: Path, step: int | None) -> tuple[Any, int]:
    """Parameters of the checkpoint of a step, by default the best, checked against the config, and its step."""
    with Checkpoints(workdir / CHECKPOINTS) as saves:
        step = saves.best() if step is None else step
        averaged = bool(experiment.config.ema_decay)
        params = saves.restore_params("best" if step is None else step, averaged)
        assert step is not None  # else there was nothing to restore
        if saves.metadata(step).get("data_fingerprint") not in (None, experiment.dataset.fingerprint):
            print(f"warning: {workdir} was trained on other data than those that are there now", file=sys.stderr)
    expected = jax.eval_shape(experiment.system.init, jax.random.key(0))
    check_shapes(expected, params, f"{workdir}: the checkpoint of step {step} is of another config")
    return params, step


def _finish(experiment: Experiment, workdir: Path, best: Best, seconds: float) -> StageResult:
    """Evaluates the best checkpoint on validation and test, and writes metrics.json and retrieval.png."""
    params, _ = _saved_parameters(experiment, workdir, best.step)
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    splits = [split for split in ("val", "test") if split in experiment.dataset.manifest["splits"]]
    evaluations = {split: evaluate_split(experiment, params, split, mesh=mesh) for split in splits}
    result = _result(experiment, workdir, evaluations, best.step, seconds)
    if jax.process_index() == 0:
        draw_strips(workdir / "retrieval.png", evaluations["test"], experiment.config)
        write_result(result, workdir)
    return result


def _result(
    experiment: Experiment, workdir: Path, evaluations: Mapping[str, Evaluation], best_step: int, seconds: float
) -> StageResult:
    config = experiment.config
    return StageResult(
        name=config.name,
        system=config.system,
        workdir=str(workdir),
        metrics={split: dict(evaluation.metrics) for split, evaluation in evaluations.items()},
        missing={split: list(evaluation.missing) for split, evaluation in evaluations.items()},
        gallery={split: list(evaluation.scores.shape) for split, evaluation in evaluations.items()},
        best_step=best_step,
        selection=config.selection,
        preset=config.preset,
        config_hash=config_hash(config),
        seconds=seconds,
    )


def evaluate_run(
    workdir: Path, split: str, save: Path | None = None, shuffle_frames: bool = False, step: int | None = None
) -> list[StageResult]:
    """Evaluates the best checkpoints of a run and of the runs it started from, anew → results, earlier stages first.

    step: of the last stage's checkpoint, instead of the best. save: also writes the last stage's scores, ids and
    features there. Raises UserError for what is not there.
    """
    workdir = Path(workdir)
    config = saved_config(workdir / CONFIG_FILE)
    stages = evaluate_run(workdir / PRETRAIN, split, None, shuffle_frames) if config.pretrain else []
    experiment = open_experiment(config)
    params, step = _saved_parameters(experiment, workdir, step)
    mesh = Devices.of_all(config.sharding.params).mesh
    evaluation = evaluate_split(experiment, params, split, shuffle_frames, mesh)
    if save is not None:
        save_scores(
            save,
            evaluation.scores,
            evaluation.captions.ids,
            evaluation.split.video_ids,
            evaluation.text_video,
            texts=evaluation.texts,
            videos=evaluation.videos,
        )
    return [*stages, _result(experiment, workdir, {split: evaluation}, step, seconds=0.0)]


LEAK_SIZE = 128  # most captions and videos of a leak check; a leak shows in a few


def check_run_leak(workdir: Path, split: str, step: int | None = None) -> tuple[str, bool]:
    """Whether a run's system scores a pair by what else is in the gallery → (report, whether it does).

    The best checkpoint, or that of `step`, on the first captions and videos of a split. Raises UserError for what is
    not there.
    """
    config = saved_config(Path(workdir) / CONFIG_FILE)
    experiment = open_experiment(config)
    params, _ = _saved_parameters(experiment, Path(workdir), step)
    evaluation = evaluate_split(experiment, params, split)
    texts, videos = (
        jax.tree.map(lambda leaf: leaf[:LEAK_SIZE], features) for features in (evaluation.texts, evaluation.videos)
    )
    draws = Draws(jax.random.key(config.evaluation.seed), noise=config.evaluation.noise)
    rows = rows_of_gallery(experiment.system.head, params["head"], texts, videos, draws=draws)
    findings = check_leak(rows, len(texts.id), len(videos.id))
    return leak_report(findings), not all(finding.ok for finding in findings)
