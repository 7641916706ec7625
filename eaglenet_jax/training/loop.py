"""The training loop: steps, evaluations, checkpoints, and what is shown of them."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
from jaxtyping import PRNGKeyArray

from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.training.event_log import EventLog
from eaglenet_jax.training.live_line import LiveLine
from eaglenet_jax.training.preemption import Preemption
from eaglenet_jax.training.profile import StepProfile
from eaglenet_jax.training.state import TrainState
from eaglenet_jax.training.step import Batch, TrainStep


class Saves(Protocol):
    """Checkpoints as the loop needs them."""

    def save(self, step: int, state: TrainState, metadata: dict[str, Any], *, best: bool) -> None: ...


@dataclasses.dataclass(frozen=True)
class Best:
    """The best evaluation so far: its step and its t2v R@1 in percent."""

    step: int = -1
    recall: float = -math.inf

    def as_dict(self) -> dict[str, float]:
        """For the metadata of a checkpoint."""
        return {"step": self.step, "recall": self.recall}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """total: steps of the whole run. evaluate_every: steps between evaluations, each followed by a checkpoint.
    patience: evaluations without a better one after which the run ends; 0: never.
    """

    total: int
    evaluate_every: int
    patience: int = 0

    def is_over(self, step: int, best: Best) -> bool:
        """Whether nothing is left to train after `step`."""
        # Evaluations, not steps: a run that was made longer may have its best at a step between two evaluations.
        waited = step // self.evaluate_every - best.step // self.evaluate_every >= self.patience
        return step >= self.total or (self.patience > 0 and best.step >= 0 and waited)


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a run is. state: after its latest step. best: the best evaluation so far."""

    state: TrainState
    best: Best = Best()


@dataclasses.dataclass(frozen=True)
class Feed:
    """Input of the steps. batches: of the steps that remain. key: of the run, folded with the step's number."""

    batches: Iterator[Batch]
    key: PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """How the best checkpoint is chosen. split: its name. evaluate: state → flat metrics with "t2v/R@1" in percent."""

    split: str
    evaluate: Callable[[TrainState], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Watch:
    """Outputs of the steps, and the signal that may end them early."""

    line: LiveLine
    log: EventLog
    preemption: Preemption
    profile: StepProfile


def train_loop(
    step: TrainStep,
    start: Standing,
    feed: Feed,
    *,
    schedule: Schedule,
    evaluator: Evaluator,
    saves: Saves,
    watch: Watch,
) -> Standing:
    """Train from start.state.step until the schedule is over.

    A checkpoint follows every evaluation, marked best when its R@1 is the highest so far (the earlier of equals). A
    step's numbers are read while the next one runs. When a stop is requested the state is saved after the step.

    Args:
        step: One update, see `make_train_step`.
        start: Where the run is.
        feed: Batches and key.
        schedule: When it ends, and when it is evaluated.
        evaluator: What chooses the best checkpoint.
        saves: Checkpoints.
        watch: Live line, log, stop request and trace.

    Returns:
        Where the run is at its end.

    Raises:
        UserError: the loss is not finite; the message names the step, and nothing is saved after it.
        Stopped: a stop was requested, and everything is saved.
    """
    line, profile = watch.line, watch.profile
    state, best = start.state, start.best
    waiting: tuple[int, Batch, dict[str, Any]] | None = None

    def finish_waiting() -> None:
        nonlocal waiting
        if waiting is None:
            return
        number, batch, measured = waiting
        waiting = None
        metrics = {name: float(value) for name, value in jax.device_get(measured).items()}
        profile.after(number)
        if not math.isfinite(metrics["loss"]):
            kept = f"the checkpoint of step {best.step} is the best" if best.step >= 0 else "no checkpoint was made"
            raise UserError(
                f"the loss is {metrics['loss']} at step {number}; {kept}. Lower the learning rate, or look at the "
                f"batch with caption ids {', '.join(_some_ids(batch))}"
            )
        line.step(number, metrics)
        watch.log.scalars(number, "train", {**metrics, **line.rates(number)})

    number = int(state.step)
    while not schedule.is_over(number, best):
        number += 1
        asked = time.monotonic()
        batch = next(feed.batches)
        line.waited(time.monotonic() - asked)
        profile.before(number)
        state, measured = step(state, batch, feed.key)
        finish_waiting()
        waiting = (number, batch, measured)
        due = number % schedule.evaluate_every == 0 or number == schedule.total
        if due:
            finish_waiting()
            found = evaluator.evaluate(state)
            recall = found["t2v/R@1"]
            is_best = recall > best.recall
            best = Best(number, recall) if is_best else best
            watch.log.scalars(number, evaluator.split, found)
            line.evaluated(number, evaluator.split, recall)
            saves.save(number, state, {"best": best.as_dict()}, best=is_best)
        if jax.process_count() > 1:
            # The step may still run; its collectives and those of the question below could meet in another order on
            # another process.
            jax.block_until_ready(state)
        if watch.preemption.requested():
            finish_waiting()
            if not due:
                saves.save(number, state, {"best": best.as_dict()}, best=False)
            reason = watch.preemption.signal or signal.SIGTERM  # another process was told
            raise Stopped(
                f"stopped by {reason.name} after step {number} of {schedule.total}, saved; "
                "the same command continues from there",
                reason,
            )
    return Standing(state, best)


def _some_ids(batch: Batch) -> list[str]:
    ids = batch["text_id"]
    # With several processes this one names its own.
    rows = ids.addressable_data(0) if isinstance(ids, jax.Array) else ids
    return [str(int(each)) for each in rows[:8]]
