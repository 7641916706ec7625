"""The block that a training prints before it starts: what is trained on what, with what, and where it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.compilation_cache import describe_cache
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.cached_features import FEATURES_FOLDER
from eaglenet_jax.errors import near_path
from eaglenet_jax.runs.cached_features import cached_bytes, megabytes
from eaglenet_jax.runs.initial_parameters import needs_download
from eaglenet_jax.runs.part_starts import start_rows
from eaglenet_jax.runs.plan import RunPlan, StagePlan
from eaglenet_jax.runs.saved_config import differences
from eaglenet_jax.runs.time_estimate import training_seconds
from eaglenet_jax.runs.workdir import CHECKPOINTS, has_checkpoints
from eaglenet_jax.system import parameter_count
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.sharding import Devices
from eaglenet_jax.wording import spoken_time

FEW_STEPS = 50  # below which a training is said to be short


def start_block(plan: RunPlan, note: str = "", memory: Sequence[str] = ()) -> str:
    """The lines of a planned run, aligned. note: on its length, where it is trained longer than it was. memory: what
    the step of each stage needs.
    """
    last = plan.stages[-1]
    config = last.config
    rows = [
        ("run", f"{config.name}: {config.system}, preset {config.preset}, {parameter_count(last.shapes):,} parameters"),
        ("data", f"{plan.data.folder}" + (" (rendered and prepared first)" if plan.data.missing else "")),
        ("clips", ", ".join(f"{split} {clips:,} ({texts:,} captions)" for split, (clips, texts) in _splits(plan))),
        ("input", f"{config.max_frames} frames and {config.max_words} words a clip"),
        ("CLIP", f"{_clip(config.clip, last)}; {_weights(plan.stages[0])}"),
    ]
    rows += [(f"stage {n}" if len(plan.stages) > 1 else "stage", _stage(s, n)) for n, s in enumerate(plan.stages, 1)]
    earlier = [None, *plan.stages]
    rows += [("start", row) for n, s in enumerate(plan.stages, 1) for row in start_rows(s, n, earlier[n - 1])]
    rows += [("head", row) for n, s in enumerate(plan.stages, 1) for row in _head_changes(s, n, earlier[n - 1])]
    rows += [("features", _features(s, plan, n)) for n, s in enumerate(plan.stages, 1) if s.config.cached_features]
    rows += [
        ("selection", f"the checkpoint with the best t2v R@1 on {config.selection}"),
        ("devices", f"{Devices.of_all(config.sharding.params)}, {jax.process_count()} process(es)"),
        *(("memory", row) for row in memory),
        ("cache", f"compiled programs {describe_cache()}"),
        ("seed", f"{config.seed}"),
        ("work dir", f"{plan.workdir}{_state(plan)}"),
        *([("length", note)] if note else []),
        *([("note", _few(last))] if last.steps < FEW_STEPS else []),
        ("time", _time(plan)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _splits(plan: RunPlan) -> list[tuple[str, tuple[int, int]]]:
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(plan.data.splits.items(), key=lambda item: order.get(item[0], 3))


def _clip(options: Any, stage: StagePlan) -> str:
    sizes = stage.system.clip.config
    name = options.get("name") or "a CLIP of its own sizes"
    return f"{name} ({sizes.vision_layers} vision layers of {sizes.vision_width}, {sizes.image_size} pixels)"


def _weights(first: StagePlan) -> str:
    if not first.source:
        return "random weights"
    kind = "weights of the run" if has_checkpoints(Path(first.source)) else "pre-trained weights of"
    told = f"{kind} {first.source}"
    if first.finished is None and needs_download(first.source):
        told += (
            f", which are not on this machine: they are downloaded first{near_path(Path(first.source), folders=True)}"
        )
    return told


def _stage(stage: StagePlan, number: int) -> str:
    config = stage.config
    if config.first_stage:
        source = f"from stage {number - 1}"
    else:
        source = "from the run above" if has_checkpoints(Path(stage.source or ".")) else "from the CLIP above"
    return (
        f"{config.name}: {config.system}, {stage.steps:,} steps of {config.batch_size} clips ({stage.passes:.3g} "
        f"epochs), evaluated every {stage.evaluate_every:,}; {source}"
    )


def _head_changes(stage: StagePlan, number: int, before: StagePlan | None) -> list[str]:
    """Say in what the head of a stage differs from that of the stage before, where both are of one kind."""
    if before is None or before.config.system != stage.config.system:
        return []
    changed = differences(as_plain(before.config.head), as_plain(stage.config.head))
    return [f"stage {number} as in stage {number - 1}, but for {', '.join(changed)}"] if changed else []


def _few(stage: StagePlan) -> str:
    longer = "steps" if stage.config.steps else "epochs"
    return f"{stage.steps} steps are few for a head; --config.{longer} sets more"


def _features(stage: StagePlan, plan: RunPlan, number: int) -> str:
    size = cached_bytes(stage.config, stage.system, stage.shapes, plan.data.splits)
    where = f"stage {number}: " if len(plan.stages) > 1 else ""
    return f"{where}CLIP frozen, features cached: {megabytes(size)} in {plan.data.folder / FEATURES_FOLDER}"


def _latest(stage: StagePlan) -> tuple[int, float]:
    """Step of the newest checkpoint and the seconds of training until then; zeros without one."""
    checkpoints = Checkpoints(stage.folder / CHECKPOINTS)
    step = checkpoints.latest()
    if step is None:
        return 0, 0.0
    try:
        return step, float(checkpoints.metadata(step)["seconds"])
    except (OSError, ValueError, KeyError):
        return step, 0.0


def _state(plan: RunPlan) -> str:
    for number, stage in reversed(list(enumerate(plan.stages, start=1))):
        step, _ = _latest(stage)
        if step:
            where = f"stage {number} " if len(plan.stages) > 1 else ""
            return f" ({where}resumes after step {step} of {stage.steps})"
    return " (new)"


def _time(plan: RunPlan) -> str:
    """Estimate the time that is left of the run: by its own rate where it was timed before, else roughly."""
    rough, timed = [], []
    for stage in plan.stages:
        if stage.finished is not None:
            continue
        step, seconds = _latest(stage)
        if step and seconds:
            timed.append((stage.steps - step) * seconds / step)
        else:
            rough.append(training_seconds(stage, stage.steps - step))
    if not rough and not timed:
        return "nothing is left to train"
    left = f"about {spoken_time(sum(rough) + sum(timed))}"
    if not rough:
        return f"{left} or less, by the rate until now, which includes compiling"
    before = ", after rendering and preparing the data" if plan.data.missing else ""
    return (
        f"{left} of steps by a rough estimate, without compiling and evaluations{before}; the first steps give a "
        "better one"
    )
