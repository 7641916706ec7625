"""The block that a training prints before it starts: what is trained on what, with what, and where it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.runs.plan import RunPlan, StagePlan
from eaglenet_jax.runs.workdir import CHECKPOINTS
from eaglenet_jax.system import parameter_count
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.live_line import spoken_time
from eaglenet_jax.training.sharding import Devices


def start_block(plan: RunPlan, note: str = "") -> str:
    """The lines of a planned run, aligned. note: on its length, where it is trained longer than it was."""
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
    rows += [
        ("selection", f"the checkpoint with the best t2v R@1 on {config.selection}"),
        ("devices", f"{Devices.of_all(config.sharding.params)}, {jax.process_count()} process(es)"),
        ("seed", f"{config.seed}"),
        ("work dir", f"{plan.workdir}{_state(plan)}"),
        *([("longer", note)] if note else []),
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
    kind = "the run" if (Path(first.source) / CHECKPOINTS).is_dir() else "pre-trained weights of"
    return f"{kind} {first.source}"


def _stage(stage: StagePlan, number: int) -> str:
    config = stage.config
    source = f"from stage {number - 1}" if config.first_stage else "from the CLIP above"
    return (
        f"{config.name}: {config.system}, {stage.steps:,} steps of {config.batch_size} clips ({stage.passes:.3g} "
        f"epochs), evaluated every {stage.evaluate_every:,}; {source}"
    )


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
    """An estimate where this run was timed before; else that there is none."""
    known = [(stage, *_latest(stage)) for stage in plan.stages]
    if all(step and seconds for _, step, seconds in known):
        left = sum((stage.steps - step) * seconds / step for stage, step, seconds in known)
        return f"about {spoken_time(left)}, by the rate until now"
    return "not known before the first steps are timed; a line will say it then"
