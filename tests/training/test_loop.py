"""The loop alone, with a step that only counts."""

from __future__ import annotations

import itertools
import signal

import jax
import numpy as np
import pytest

from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.training.loop import Best, Evaluator, Feed, Schedule, Standing, Watch, train_loop
from eaglenet_jax.training.profile import StepProfile
from eaglenet_jax.training.state import TrainState


class Recorder:
    """Fake of checkpoints, live line and event log that records its calls."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, int, bool]] = []

    def save(self, step, state, metadata, *, best):
        self.saved.append((step, metadata["best"]["step"], best))

    def scalars(self, *_):
        pass

    step = evaluated = waited = scalars

    def rates(self, _):
        return {"clips_per_second": 1.0}


class StopAt:
    """Preemption that is requested during a step."""

    signal = signal.SIGTERM

    def __init__(self, step: int) -> None:
        self.steps = itertools.count(1)
        self.at = step

    def requested(self) -> bool:
        return next(self.steps) >= self.at


def _run(recalls, stop_at=100, loss=lambda step: 1.0, start=0, best=None, patience=0):
    recorder = Recorder()
    found = iter(recalls)

    def step(state, batch, key):
        return TrainState(state.step + 1, {}, (), ()), {"loss": loss(state.step + 1)}

    batches = itertools.repeat({"text_id": np.arange(3)})
    try:
        end = train_loop(
            step,
            Standing(TrainState(start, {}, (), ()), best or Best()),
            Feed(batches, jax.random.key(0)),
            schedule=Schedule(7, 3, patience),
            evaluator=Evaluator("val", lambda state: {"t2v/R@1": next(found)}),
            saves=recorder,
            watch=Watch(recorder, recorder, StopAt(stop_at), StepProfile.of("", None)),
        )
        return recorder.saved, end.best
    except (Stopped, UserError) as error:
        return recorder.saved, error


def test_a_checkpoint_follows_every_evaluation_and_the_first_of_equals_is_best():
    saved, best = _run([10.0, 20.0, 20.0])
    assert saved == [(3, 3, True), (6, 6, True), (7, 6, False)]
    assert best == Best(6, 20.0)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (2, [(2, -1, False)]),
        (3, [(3, 3, True)]),
        (5, [(3, 3, True), (5, 3, False)]),
        (7, [(3, 3, True), (6, 6, True), (7, 6, False)]),  # the evaluation of the run, and other runs, are left
    ],
)
def test_a_stop_saves_after_the_step_once(at, expected):
    saved, error = _run([10.0, 20.0, 20.0], stop_at=at)
    assert saved == expected
    assert isinstance(error, Stopped) and error.number == signal.SIGTERM
    assert str(error).startswith(f"stopped by SIGTERM after step {at} of 7, saved")


def test_a_loss_that_is_not_finite_names_its_step_and_saves_nothing_after():
    saved, error = _run([10.0], loss=lambda step: np.nan if step == 5 else 1.0)
    assert saved == [(3, 3, True)]
    assert isinstance(error, UserError) and "the loss is nan at step 5" in str(error)


def test_a_run_ends_early_when_nothing_gets_better_and_stays_ended():
    saved, best = _run([10.0, 5.0, 5.0], patience=1)
    assert saved == [(3, 3, True), (6, 3, False)] and best == Best(3, 10.0)
    assert _run([], patience=1, start=6, best=best) == ([], best)
    assert len(_run([10.0, 5.0, 5.0], patience=2)[0]) == 3


def test_a_run_that_was_made_longer_ends_early_at_an_evaluation():
    """Its best is at its old end, step 7 of 7, between the evaluations of every third step."""
    longer = Schedule(20, 3, patience=2)
    assert next(step for step in range(7, 21) if longer.is_over(step, Best(7, 10.0))) == 12


def test_a_profile_traces_the_steps_that_were_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder, **_: calls.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    with StepProfile.of("2:3", tmp_path) as profile:
        for step in range(1, 6):
            profile.before(step)
            calls.append(step)
            profile.after(step)
    assert calls == [1, "start", 2, 3, "stop", 4, 5]
    for wrong in ("3", "0:2", "4:2", "a:b"):
        with pytest.raises(UserError, match="give the first and the last step"):
            StepProfile.of(wrong, tmp_path)
