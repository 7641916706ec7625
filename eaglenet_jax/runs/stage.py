"""One stage of a run: devices, optimiser, state and data from a config, then the loop, from wherever it was stopped."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.pipeline import batches
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.split import evaluate_split
from eaglenet_jax.runs.start import initial_parameters
from eaglenet_jax.runs.workdir import CHECKPOINTS, EVENTS, PROFILE
from eaglenet_jax.system import parameter_count
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.ema import averaged_params, with_average
from eaglenet_jax.training.event_log import EventLog
from eaglenet_jax.training.live_line import LiveLine
from eaglenet_jax.training.loop import Best, Schedule, train_loop
from eaglenet_jax.training.optimizer import describe_groups, make_optimizer
from eaglenet_jax.training.preemption import Preemption
from eaglenet_jax.training.profile import StepProfile
from eaglenet_jax.training.sharding import Devices
from eaglenet_jax.training.step import initial_state, make_train_step


def optimizer_settings(config: Any, unused: tuple[str, ...]) -> dict[str, Any]:
    """What `make_optimizer` takes, from a config. unused: patterns of the head's parameters that nothing depends on."""
    settings = as_plain(config.optimizer)
    settings["freeze"] = [*(f"head/{pattern}" for pattern in unused), *settings["freeze"].split(",")]
    return settings


def train_stage(experiment: Experiment, workdir: Path, source: str) -> tuple[Best, float]:
    """Trains from the newest checkpoint, or from the start → (best evaluation, seconds of training in all).

    source: what the first step starts from, see `initial_parameters`. Raises UserError for what config, data and source
    can have wrong, and Stopped when a signal asked for it, with everything saved.
    """
    started = time.monotonic()
    config, system, first = experiment.config, experiment.system, jax.process_index() == 0
    devices = Devices.of_all(config.sharding.params)
    total = experiment.steps
    params = initial_parameters(system, source, config.seed)
    settings = optimizer_settings(config, system.head.unused_parameters())
    optimizer = make_optimizer(settings, params, total)
    if config.ema_decay:
        optimizer = with_average(optimizer, config.ema_decay)
    state = devices.place(initial_state(system, optimizer, params))
    step = make_train_step(
        system,
        optimizer,
        mesh=devices.mesh,
        pairwise_block=config.pairwise_block or None,
        accumulate=config.accumulate,
        encode_micro_batches=config.encode_micro_batches,
    )
    dataset = experiment.training_batches()

    def evaluated(state: Any) -> dict[str, float]:
        params = averaged_params(state.opt_state) if config.ema_decay else state.params
        return evaluate_split(experiment, params, experiment.selection_split, mesh=devices.mesh).flat

    best, earlier = Best(), 0.0
    with contextlib.ExitStack() as stack:
        saves = stack.enter_context(Checkpoints(workdir / CHECKPOINTS, keep=config.checkpoints.keep))
        if saves.latest() is not None:
            state, metadata = saves.restore(state)
            best, earlier = Best(**metadata["best"]), metadata["seconds"]
            if metadata["data_fingerprint"] != experiment.dataset.fingerprint:
                raise UserError(f"{workdir} was trained on other data; give another --workdir")
        schedule = Schedule(total, experiment.evaluate_every, config.early_stop)
        start = int(state.step)
        line = stack.enter_context(LiveLine(config.name, total, start, config.batch_size, shown=first))
        if start:
            line.say(f"{config.name}: going on from step {start} of {total} in {workdir}")
        else:
            line.say(
                f"{config.name}: {config.system} ({config.preset}), {parameter_count(params):,} parameters, "
                f"{total} steps of {config.batch_size} clips on {devices}, best by {config.selection}"
            )
            line.say(describe_groups(settings, params))
        if schedule.is_over(start, best):
            return best, earlier
        log = stack.enter_context(EventLog(workdir / EVENTS if first else None, start))
        stream = stack.enter_context(
            contextlib.closing(batches(dataset, start=start, stop=total, workers=config.data.workers))
        )
        key = jax.random.fold_in(jax.random.key(config.seed), 1)
        first_batch = devices.batch(next(stream))
        # Counted before compilation; the body of a loop, as Langevin sampling is one, counts once.
        # Not every backend counts.
        flops = (step.lower(state, first_batch, key).cost_analysis() or {}).get("flops")
        line.say((f"{flops / 1e9:,.1f} GFLOP a step; " if flops else "") + "compiling the first step")
        _, best = train_loop(
            step,
            state,
            itertools.chain([first_batch], map(devices.batch, stream)),
            key,
            schedule=schedule,
            evaluate=evaluated,
            split=experiment.selection_split,
            saves=saves.with_metadata(
                lambda: {
                    "data_fingerprint": experiment.dataset.fingerprint,
                    "fps": experiment.dataset.manifest["settings"]["fps"],
                    "sampling": experiment.dataset.sampling,
                    "seconds": earlier + time.monotonic() - started,
                    "config": as_plain(config),
                }
            ),
            best=best,
            line=line,
            log=log,
            preemption=stack.enter_context(Preemption()),
            profile=stack.enter_context(StepProfile.of(config.profile if first else "", workdir / PROFILE)),
        )
    return best, earlier + time.monotonic() - started
