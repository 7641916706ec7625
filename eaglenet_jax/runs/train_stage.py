"""One stage of a run: devices, optimiser, state and data from a config, then the loop, from wherever it was stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from typing import Any

import grain
import jax

from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.pipeline import batches
from eaglenet_jax.errors import UserError
from eaglenet_jax.progress import ProgressBars
from eaglenet_jax.runs.cached_features import cached_split
from eaglenet_jax.runs.evaluate_split import EncodedSplit, encode_split, score_split
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.kept_step import read_ahead, ready_step, step_file
from eaglenet_jax.runs.plan import StagePlan
from eaglenet_jax.runs.stage_step import stage_step
from eaglenet_jax.runs.workdir import CHECKPOINTS, EVENTS, PROFILE
from eaglenet_jax.scoring.encoding import reduces_videos
from eaglenet_jax.system import parameter_count
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.ema import averaged_params
from eaglenet_jax.training.event_log import EventLog
from eaglenet_jax.training.live_line import LiveLine
from eaglenet_jax.training.loop import Best, Evaluator, Feed, Schedule, Standing, Watch, train_loop
from eaglenet_jax.training.optimizer import describe_groups
from eaglenet_jax.training.preemption import Preemption
from eaglenet_jax.training.profile import StepProfile
from eaglenet_jax.training.sharding import Devices
from eaglenet_jax.training.step import initial_state


def train_stage(experiment: Experiment, plan: StagePlan) -> tuple[Best, float]:
    """Train one stage from its newest checkpoint, or from its start.

    Args:
        experiment: Its config, opened.
        plan: Its folder, its source and its length.

    Returns:
        The best evaluation, and the seconds of training in all.

    Raises:
        UserError: for what data and source can have wrong.
        Stopped: a signal asked for it; everything is saved.
    """
    started = time.monotonic()
    config, system, first = experiment.config, experiment.system, jax.process_index() == 0
    devices, workdir, total = Devices.of_all(config.sharding.params), plan.folder, plan.steps
    kept = step_file(plan)
    ahead = read_ahead(kept)
    params = initial_parameters(system, plan.source, config.seed)
    optimizer, step = stage_step(config, system, plan.optimizer, params, devices.mesh, total)
    state = devices.place(initial_state(system, optimizer, params))

    def evaluated(state: Any) -> dict[str, float]:
        params = averaged_params(state.opt_state) if config.ema_decay else state.params
        mesh, progress = devices.mesh, line.working
        encoded = given.evaluated
        if encoded is None:
            encoded = encode_split(experiment, params, experiment.selection_split, mesh=mesh, progress=progress)
        return score_split(experiment, params, encoded, mesh=mesh, progress=progress).flat

    best, earlier = Best(), 0.0
    with contextlib.ExitStack() as stack:
        saves = stack.enter_context(Checkpoints(workdir / CHECKPOINTS, keep=config.checkpoints.keep))
        if saves.latest() is not None:
            state, metadata = saves.restore(state)
            best, earlier = Best(**metadata["best"]), metadata["seconds"]
            if metadata["data_fingerprint"] != experiment.dataset.fingerprint:
                raise UserError(f"{workdir} was trained on other data; give another --workdir")
        given = _input(experiment, state.params, devices)
        schedule = Schedule(total, plan.evaluate_every, config.early_stop)
        start = int(state.step)
        line = stack.enter_context(LiveLine(config.name, total, start, config.batch_size, shown=first))
        if start:
            line.say(f"{config.name}: going on from step {start} of {total} in {workdir}")
        else:
            line.say(
                f"{config.name}: {config.system} ({config.preset}), {parameter_count(params):,} parameters, "
                f"{total} steps of {config.batch_size} clips on {devices}, best by {config.selection}"
            )
            line.say(describe_groups(plan.optimizer, params))
        if schedule.is_over(start, best):
            return best, earlier
        log = stack.enter_context(EventLog(workdir / EVENTS if first else None, start))
        stream = stack.enter_context(
            contextlib.closing(batches(given.batches, start=start, stop=total, workers=given.workers))
        )
        key = jax.random.fold_in(jax.random.key(config.seed), 1)
        first_batch = devices.batch(next(stream))
        ready = ready_step(step, kept, ahead, state, first_batch, key)
        doing = "reading its program" if ready.kept else "compiling the first step"
        line.say(f"{ready.flops / 1e9:,.1f} GFLOP of products a step; {doing}")
        # Before the signals, so that none falls between the last question for them and the end of the trace.
        profile = stack.enter_context(StepProfile.of(config.profile if first else "", workdir / PROFILE))
        end = train_loop(
            ready.step,
            Standing(state, best),
            Feed(itertools.chain([first_batch], map(devices.batch, stream)), key),
            schedule=schedule,
            evaluator=Evaluator(experiment.selection_split, evaluated),
            saves=saves.with_metadata(
                lambda: {
                    "data_fingerprint": experiment.dataset.fingerprint,
                    "fps": experiment.dataset.manifest["settings"]["fps"],
                    "sampling": experiment.dataset.sampling,
                    "seconds": earlier + time.monotonic() - started,
                    "config": as_plain(config),
                }
            ),
            watch=Watch(
                line,
                log,
                stack.enter_context(Preemption()),
                profile,
            ),
        )
    return end.best, earlier + time.monotonic() - started


@dataclasses.dataclass(frozen=True)
class _Input:
    """Input of a stage.

    Attributes:
        batches: Training batches, by number.
        workers: Processes that read them ahead.
        evaluated: Features of the selection split, where they never change.
    """

    batches: grain.MapDataset
    workers: int
    evaluated: EncodedSplit | None = None


def _input(experiment: Experiment, params: Any, devices: Devices) -> _Input:
    """Open the training batches; features of a frozen CLIP are encoded first where they are not stored."""
    config = experiment.config
    if not config.cached_features:
        return _Input(experiment.training_batches(), config.data.workers)
    with ProgressBars() as progress:
        stored = cached_split(experiment, params, "train", mesh=devices.mesh, progress=progress)
        encoded = None
        if not reduces_videos(experiment.system.head):  # otherwise they depend on the head, which is trained
            encoded = encode_split(experiment, params, experiment.selection_split, mesh=devices.mesh, progress=progress)
    # Stored features are only copied, which threads do faster than processes hand them over.
    return _Input(stored.training_batches(config.batch_size, config.seed), 0, encoded)
