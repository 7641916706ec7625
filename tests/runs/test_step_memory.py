"""What `train --dry-run` says of the memory of a step, by a program compiled on CPU and devices that are made up."""

from __future__ import annotations

import jax
import pytest

from eaglenet_jax import train
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.runs import step_memory
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.runs.step_memory import StepBytes, described, step_bytes
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.step import initial_state

NEEDED = StepBytes(arguments=2_000_000_000, temporaries=65_000_000_000)


def _stage(name, tmp_path, *overrides):
    config = load_config(name, [f"--config.data.root={tmp_path}", *overrides])
    return plan_run(config, tmp_path / "run").stages[-1]


@pytest.mark.parametrize("words", ["clip4clip", "clip4clip,frozen"])
def test_a_step_needs_its_state_its_batch_and_temporaries(words, tmp_path):
    stage = _stage(f"moving_shapes:{words}" if "frozen" in words else f"demo:tiny,{words}", tmp_path)
    found, config, clip = step_bytes(stage), stage.config, stage.system.clip.config
    optimizer = make_optimizer(stage.optimizer, stage.shapes, stage.steps)
    state = jax.eval_shape(lambda params: initial_state(stage.system, optimizer, params), stage.shapes)
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if config.cached_features:  # ids, features of both, the texts' and the frames' masks
        batch_bytes = config.batch_size * (8 + 4 * clip.embed_dim * (1 + config.max_frames))
    else:
        pixels = 3 * clip.image_size**2 + 1
        batch_bytes = config.batch_size * (8 + 4 * config.max_words + config.max_frames * pixels)
    assert found.arguments == pytest.approx(state_bytes + batch_bytes, rel=0.02)
    assert found.temporaries > 0 and found.total == found.arguments + found.temporaries


def test_a_frozen_clip_needs_no_memory_for_its_gradients(tmp_path):
    whole = step_bytes(_stage("demo:tiny,clip4clip", tmp_path))
    frozen = step_bytes(_stage("demo:tiny,clip4clip", tmp_path, "--config.optimizer.freeze=clip/.*"))
    assert frozen.temporaries < whole.temporaries / 2


def test_a_compiler_without_room_is_said_with_what_is_left_to_try(tmp_path, monkeypatch):
    def no_room(stage):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error")

    monkeypatch.setattr(step_memory, "step_bytes", no_room)
    monkeypatch.setattr(step_memory, "device_memory", lambda: 16_000_000_000)
    row = step_memory.memory_row(_stage("demo:tiny", tmp_path))
    assert (
        row.startswith("the step does not compile in the 16 GB that jax may use") and "try --config.clip.remat" in row
    )


def test_a_step_that_does_not_fit_is_said_with_what_is_left_to_try():
    config = load_config("msrvtt:b16")
    fits = described(NEEDED, 70_000_000_000, config)
    assert fits == "a step needs 67 GB (65 GB of it temporaries) of the 70 GB that jax may use of each device"
    flags = ["--config.clip.remat=True", "--config.encode_micro_batches=4", "--config.pairwise_block=8"]
    not_fits = described(NEEDED, 66_900_000_000, config)
    assert "more than the 66.9 GB" in not_fits
    assert not_fits.endswith(f": try {', '.join(flags)}, a smaller --config.batch_size")
    config.clip.remat, config.accumulate, config.pairwise_block = True, 2, 8
    assert described(NEEDED, 1, config).endswith(": try a smaller --config.batch_size")
    frozen = load_config("msrvtt:xpool", ["--config.cached_features=True"])
    assert "remat" not in described(NEEDED, 1, frozen) and "encode_micro" not in described(NEEDED, 1, frozen)


def test_a_dry_run_says_it_where_a_device_knows_its_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step_memory, "step_bytes", lambda stage: NEEDED)
    command = ["--config=demo:tiny", f"--config.data.root={tmp_path}", f"--workdir={tmp_path / 'run'}", "--dry-run"]
    train.main(command)
    assert "a step needs" not in capsys.readouterr().out  # a CPU does not know it
    monkeypatch.setattr(step_memory, "device_memory", lambda: 80_000_000_000)
    train.main(command)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert [line.split()[1:3] for line in lines] == [["stage", "1:"], ["stage", "2:"]]
    assert all("of the 80 GB that jax may use" in line for line in lines)  # of both stages
