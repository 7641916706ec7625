"""How long a run is, and what becomes of a run that is given another length than it had."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.experiment import steps_in_all
from eaglenet_jax.runs.saved_config import has_config, saved_config
from eaglenet_jax.runs.workdir import CHECKPOINTS, read_result
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.loop import Best, Schedule
from eaglenet_jax.training.optimizer import make_schedule

if TYPE_CHECKING:
    from eaglenet_jax.runs.plan import StagePlan

# Fields of a run's last stage that may change while it is trained: they say only when it ends.
LENGTH_FIELDS = ("steps", "epochs", "early_stop")


def length_of(config: Any) -> dict[str, float]:
    """The fields that say when a stage ends, by name."""
    return {name: config[name] for name in LENGTH_FIELDS}


def changed_length(stage: StagePlan, old: Any) -> str:
    """Say in one line how a stage with checkpoints continues with a new length; "" without checkpoints or change.

    Args:
        stage: As it is planned now.
        old: The config that it was trained with.

    Raises:
        UserError: the stage is past its new end, or ended early and would end at once.
    """
    if length_of(old) == length_of(stage.config):
        return ""
    checkpoints = Checkpoints(stage.folder / CHECKPOINTS)
    done = checkpoints.latest()
    if done is None:
        return ""
    if stage.steps < done:
        raise UserError(
            f"{stage.folder} is trained to step {done} already, {stage.steps} steps are fewer; give more, or another "
            "--workdir"
        )
    best = Best()
    # Of a damaged checkpoint nothing is known; the training reports it and continues from the one before.
    with contextlib.suppress(OSError, ValueError, KeyError):
        best = Best(**checkpoints.metadata(done)["best"])
    schedule = Schedule(stage.steps, stage.evaluate_every, stage.config.early_stop)
    if done < stage.steps and schedule.is_over(done, best):
        raise UserError(
            f"{stage.folder} ended early at step {done} and would end there again: no evaluation after step "
            f"{best.step} was better; give --config.early_stop=0 or more than {stage.config.early_stop} as well"
        )
    before = steps_in_all(old, stage.per_pass)
    note = _schedule_note(stage.config.optimizer, done, before, stage.steps)
    return f"step {done} of {before} before, {stage.steps} now; {note}"


def _schedule_note(optimizer: Any, done: int, before: int, now: int) -> str:
    old, new = (float(make_schedule(optimizer.schedule, optimizer.warmup, total)(done)) for total in (before, now))
    if abs(old - new) < 1e-6 and optimizer.schedule == "constant":
        return "schedule constant: the learning rates stay as they were"
    change = "rise" if new > old else "fall" if new < old else "stay"
    return (
        f"schedule {optimizer.schedule} is stretched over {now} steps: the learning rates {change} from {old:.0%} to "
        f"{new:.0%} of their highest, so the numbers are not those of a run planned for {now} steps"
    )


def length_of_result(result: StageResult, workdir: Path) -> dict[str, float]:
    """The length that a result belongs to; empty if neither the result nor a config says it.

    Older results do not record it: theirs is that of the config in their work directory.
    """
    return result.length or (length_of(saved_config(workdir)) if has_config(workdir) else {})


def finished_result(config: Any, workdir: Path) -> StageResult | None:
    """Return the result of a stage if it has reached the length of its config, else None."""
    result = read_result(workdir)
    if result is None:
        return None
    length = length_of_result(result, workdir)
    return result if not length or length == length_of(config) else None
