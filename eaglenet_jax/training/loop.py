"""The training loop: steps, evaluations, checkpoints, and what is shown of them."""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
from jaxtyping import PRNGKeyArray

from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.training.event_log import EventLog
from eaglenet_jax.training.live_line import LiveLine
from eaglenet_jax.training.preemption import Preemption
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
    """total: steps of the whole run. evaluate_every: steps between evaluations, each followed by a checkpoint."""

    total: int
    evaluate_every: int


def train_loop(
    step: TrainStep,
    state: TrainState,
    batches: Iterator[Batch],
    key: PRNGKeyArray,
    *,
    schedule: Schedule,
    evaluate: Callable[[Any], dict[str, float]],
    split: str,
    saves: Saves,
    best: Best,
    line: LiveLine,
    log: EventLog,
    preemption: Preemption,
) -> tuple[TrainState, Best]:
    """Trains from state.step to schedule.total → (last state, best evaluation).

    batches: of the steps that remain. evaluate: parameters → flat metrics with "t2v/R@1", on the split called `split`.
    A checkpoint follows every evaluation, marked best when its R@1 is the highest so far (the earlier of equals).
    When `preemption` is requested the state is saved after the step and Stopped is raised. Raises UserError when the
    loss is not finite, naming the step; the last checkpoint stays as it is.
    """
    start = int(state.step)
    for number in range(start + 1, schedule.total + 1):
        batch = next(batches)
        state, measured = step(state, batch, key)
        metrics = {name: float(value) for name, value in jax.device_get(measured).items()}
        if not math.isfinite(metrics["loss"]):
            raise UserError(
                f"the loss is {metrics['loss']} at step {number}; the last good checkpoint is kept. Lower the learning "
                "rate, or look at the batch with caption ids " + ", ".join(str(i) for i in batch["text_id"][:8])
            )
        line.step(number, metrics)
        log.scalars(number, "train", {**metrics, "clips_per_second": line.clips_per_second(number)})
        due = number % schedule.evaluate_every == 0 or number == schedule.total
        if due:
            found = evaluate(state.params)
            recall = found["t2v/R@1"]
            is_best = recall > best.recall
            best = Best(number, recall) if is_best else best
            log.scalars(number, split, found)
            line.evaluated(number, split, recall)
            saves.save(number, state, {"best": best.as_dict()}, best=is_best)
        if preemption.requested() and number < schedule.total:
            if not due:
                saves.save(number, state, {"best": best.as_dict()}, best=False)
            reason = preemption.signal or signal.SIGTERM  # another process was told
            raise Stopped(
                f"stopped by {reason.name} after step {number} of {schedule.total}, saved; "
                "the same command goes on from there",
                reason,
            )
    return state, best
