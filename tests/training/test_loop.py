"""The loop alone, with a step that only counts."""

from __future__ import annotations

import itertools
import signal

import jax
import numpy as np
import pytest

from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.training.loop import Best, Schedule, train_loop
from eaglenet_jax.training.state import TrainState


class Recorder:
    """Stands for checkpoints, live line and event log: keeps what it is given."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, int, bool]] = []

    def save(self, step, state, metadata, *, best):
        self.saved.append((step, metadata["best"]["step"], best))

    def scalars(self, *_):
        pass

    step = evaluated = scalars

    def clips_per_second(self, _):
        return 1.0


class StopAt:
    """A preemption that comes during a step."""

    signal = signal.SIGTERM

    def __init__(self, step: int) -> None:
        self.steps = itertools.count(1)
        self.at = step

    def requested(self) -> bool:
        return next(self.steps) >= self.at


def _run(recalls, stop_at=100, loss=lambda step: 1.0, start=0):
    recorder = Recorder()
    found = iter(recalls)

    def step(state, batch, key):
        return TrainState(state.step + 1, {}, (), ()), {"loss": loss(state.step + 1)}

    batches = itertools.repeat({"text_id": np.arange(3)})
    try:
        _, best = train_loop(
            step,
            TrainState(start, {}, (), ()),
            batches,
            jax.random.key(0),
            evaluate=lambda params: {"t2v/R@1": next(found)},
            schedule=Schedule(7, 3),
            split="val",
            saves=recorder,
            best=Best(),
            line=recorder,
            log=recorder,
            preemption=StopAt(stop_at),
        )
        return recorder.saved, best
    except (Stopped, UserError) as error:
        return recorder.saved, error


def test_a_checkpoint_follows_every_evaluation_and_the_first_of_equals_is_best():
    saved, best = _run([10.0, 20.0, 20.0])
    assert saved == [(3, 3, True), (6, 6, True), (7, 6, False)]
    assert best == Best(6, 20.0)


@pytest.mark.parametrize(
    ("at", "expected"), [(2, [(2, -1, False)]), (3, [(3, 3, True)]), (5, [(3, 3, True), (5, 3, False)])]
)
def test_a_stop_saves_after_the_step_once(at, expected):
    saved, error = _run([10.0, 20.0, 20.0], stop_at=at)
    assert saved == expected
    assert isinstance(error, Stopped) and error.number == signal.SIGTERM
    assert str(error).startswith(f"stopped by SIGTERM after step {at} of 7, saved")


def test_a_stop_at_the_last_step_is_no_stop():
    assert _run([10.0, 20.0, 20.0], stop_at=7)[1] == Best(6, 20.0)


def test_a_loss_that_is_not_finite_names_its_step_and_saves_nothing_after():
    saved, error = _run([10.0], loss=lambda step: np.nan if step == 5 else 1.0)
    assert saved == [(3, 3, True)]
    assert isinstance(error, UserError) and "the loss is nan at step 5" in str(error)
