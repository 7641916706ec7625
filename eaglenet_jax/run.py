"""One training run: a config in a work directory, from the first step or from where it was stopped, to its results."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from eaglenet_jax.configuration import as_plain, config_hash, is_free, save_config, saved_config
from eaglenet_jax.data.pipeline import batches, train_dataset
from eaglenet_jax.errors import UserError
from eaglenet_jax.experiment import Evaluation, Experiment, check_config, evaluate_split, open_experiment
from eaglenet_jax.initial_parameters import CHECKPOINTS, CONFIG_FILE, check_shapes, initial_parameters
from eaglenet_jax.results import StageResult, draw_strips, read_result, write_result
from eaglenet_jax.retrieval.saved_scores import save_scores
from eaglenet_jax.system import parameter_count
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.event_log import EventLog
from eaglenet_jax.training.live_line import LiveLine
from eaglenet_jax.training.loop import Best, Schedule, train_loop
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.preemption import Preemption
from eaglenet_jax.training.step import initial_state, make_train_step

PRETRAIN = "pretrain"


def train_run(config: Any, workdir: Path) -> list[StageResult]:
    """Trains, evaluates the best checkpoint and writes everything under `workdir` → results, earlier stages first.

    A work directory that holds an unfinished run of this config goes on; a finished one only gives its results again.
    Everything that config and work directory can have wrong is found before the first step of the first stage. Raises
    UserError for a work directory of another config or that another process trains in, and for everything that config
    and data can have wrong; Stopped when a signal asked for it, with everything saved.
    """
    stages = _stages(config, Path(workdir))
    for stage, _ in stages:
        check_config(stage)
    with _alone_in(Path(workdir)):
        for stage, folder in reversed(stages):
            _claim(stage, folder)
        return [_stage_result(stage, folder) for stage, folder in stages]


@contextlib.contextmanager
def _alone_in(workdir: Path) -> Iterator[None]:
    """Holds a lock on the work directory, which the system takes back from a killed process."""
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
    best, seconds = _train(experiment, workdir)
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
    # Also over one that differs in free fields: the work directory tells what was used last.
    save_config(config, file)


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]
    same = old == new or is_free(name)
    return [] if same else [f"{name}: {old!r} there, {new!r} now"]


def _train(experiment: Experiment, workdir: Path) -> tuple[Best, float]:
    """Trains from the newest checkpoint, or from the start → (best evaluation, seconds of training in all)."""
    started = time.monotonic()
    config, system = experiment.config, experiment.system
    total = experiment.steps
    # Not written into the config: a work directory may be moved, and says the same wherever it is.
    source = str(workdir / PRETRAIN) if config.pretrain else config.init_from
    params = initial_parameters(system, source, config.seed)
    settings = as_plain(config.optimizer)
    unused = [(f"head/{pattern}", {"frozen": True}) for pattern in system.head.unused_parameters()]
    settings["groups"] = (*unused, *settings["groups"])
    for limit in ("global_clip", "per_tensor_clip"):
        settings[limit] = settings[limit] or None
    optimizer = make_optimizer(settings, params, total)
    state = initial_state(system, optimizer, params)
    step = make_train_step(
        system, optimizer, pairwise_block=config.pairwise_block or None, accumulate=config.accumulate
    )
    dataset = train_dataset(
        experiment.dataset.split("train"),
        experiment.tokenizer,
        batch_size=config.batch_size,
        max_frames=config.max_frames,
        seed=config.seed,
    )
    best, earlier = Best(), 0.0
    with contextlib.ExitStack() as stack:
        saves = stack.enter_context(Checkpoints(workdir / CHECKPOINTS, keep=config.checkpoints.keep))
        if saves.latest() is not None:
            state, metadata = saves.restore(state)
            best, earlier = Best(**metadata["best"]), metadata["seconds"]
            if metadata["data_fingerprint"] != experiment.dataset.fingerprint:
                raise UserError(f"{workdir} was trained on other data; give another --workdir")
        start = int(state.step)
        line = stack.enter_context(LiveLine(config.name, total, start, config.batch_size))
        if start:
            line.say(f"{config.name}: going on from step {start} of {total} in {workdir}")
        else:
            line.say(
                f"{config.name}: {config.system} ({config.preset}), {parameter_count(params):,} parameters, "
                f"{total} steps of {config.batch_size} clips, best by {config.selection}; the first step compiles"
            )
        if start == total:
            return best, earlier
        log = stack.enter_context(EventLog(workdir / "events", start))
        source = stack.enter_context(
            contextlib.closing(batches(dataset, start=start, stop=total, workers=config.data.workers))
        )
        _, best = train_loop(
            step,
            state,
            source,
            jax.random.fold_in(jax.random.key(config.seed), 1),
            schedule=Schedule(total, experiment.evaluate_every),
            evaluate=lambda params: evaluate_split(experiment, params, experiment.selection_split).flat,
            split=experiment.selection_split,
            saves=saves.with_metadata(
                lambda: {
                    "data_fingerprint": experiment.dataset.fingerprint,
                    "seconds": earlier + time.monotonic() - started,
                }
            ),
            best=best,
            line=line,
            log=log,
            preemption=stack.enter_context(Preemption()),
        )
    return best, earlier + time.monotonic() - started


def _saved_parameters(experiment: Experiment, workdir: Path, step: int | None) -> tuple[Any, int]:
    """Parameters of the checkpoint of a step, by default the best, checked against the config, and its step."""
    with Checkpoints(workdir / CHECKPOINTS) as saves:
        step = saves.best() if step is None else step
        params = saves.restore_params("best" if step is None else step)
        assert step is not None  # else there was nothing to restore
        if saves.metadata(step).get("data_fingerprint") not in (None, experiment.dataset.fingerprint):
            print(f"warning: {workdir} was trained on other data than those that are there now", file=sys.stderr)
    expected = jax.eval_shape(experiment.system.init, jax.random.key(0))
    check_shapes(expected, params, f"{workdir}: the checkpoint of step {step} is of another config")
    return params, step


def _finish(experiment: Experiment, workdir: Path, best: Best, seconds: float) -> StageResult:
    """Evaluates the best checkpoint on validation and test, and writes metrics.json and retrieval.png."""
    params, _ = _saved_parameters(experiment, workdir, best.step)
    evaluations = {split: evaluate_split(experiment, params, split) for split in ("val", "test")}
    draw_strips(workdir / "retrieval.png", evaluations["test"], experiment.config)
    result = _result(experiment, workdir, evaluations, best.step, seconds)
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
    evaluation = evaluate_split(experiment, params, split, shuffle_frames)
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
