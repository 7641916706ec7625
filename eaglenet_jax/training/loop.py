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
    """What the loop needs of checkpoints."""

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
        waited = step - best.step >= self.patience * self.evaluate_every
        return step >= self.total or (self.patience > 0 and best.step >= 0 and waited)


def train_loop(
    step: TrainStep,
    state: TrainState,
    batches: Iterator[Batch],
    key: PRNGKeyArray,
    *,
    schedule: Schedule,
    evaluate: Callable[[TrainState], dict[str, float]],
    split: str,
    saves: Saves,
    best: Best,
    line: LiveLine,
    log: EventLog,
    preemption: Preemption,
    profile: StepProfile,
) -> tuple[TrainState, Best]:
    """Trains from state.step until the schedule is over → (last state, best evaluation).

    batches: of the steps that remain. evaluate: state → flat metrics with "t2v/R@1", on the split called `split`. A
    checkpoint follows every evaluation, marked best when its R@1 is the highest so far (the earlier of equals). A
    step's numbers are read while the next one runs. When `preemption` is requested the state is saved after the step
    and Stopped is raised. Raises UserError when the loss is not finite, naming the step; nothing is saved after it.
    """
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
        log.scalars(number, "train", {**metrics, **line.rates(number)})

    number = int(state.step)
    while not schedule.is_over(number, best):
        number += 1
        asked = time.monotonic()
        batch = next(batches)
        line.waited(time.monotonic() - asked)
        profile.before(number)
        state, measured = step(state, batch, key)
        finish_waiting()
        waiting = (number, batch, measured)
        due = number % schedule.evaluate_every == 0 or number == schedule.total
        if due:
            finish_waiting()
            found = evaluate(state)
            recall = found["t2v/R@1"]
            is_best = recall > best.recall
            best = Best(number, recall) if is_best else best
            log.scalars(number, split, found)
            line.evaluated(number, split, recall)
            saves.save(number, state, {"best": best.as_dict()}, best=is_best)
        if preemption.requested() and number < schedule.total:
            finish_waiting()
            if not due:
                saves.save(number, state, {"best": best.as_dict()}, best=False)
            reason = preemption.signal or signal.SIGTERM  # another process was told
            raise Stopped(
                f"stopped by {reason.name} after step {number} of {schedule.total}, saved; "
                "the same command goes on from there",
                reason,
            )
    return state, best


def _some_ids(batch: Batch) -> list[str]:
    ids = batch["text_id"]
    # With several processes this one names its own.
    rows = ids.addressable_data(0) if isinstance(ids, jax.Array) else ids
    return [str(int(each)) for each in rows[:8]]
