"""A run that is given another length: a finished one is trained further, its numbers stay until there are new ones."""

from __future__ import annotations

import dataclasses
import json

import pytest

from eaglenet_jax import train
from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.runs import train as training
from eaglenet_jax.runs import train_stage as one_stage
from eaglenet_jax.training.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(workdir name, overrides): trains demo:tiny,clip4clip; its first stage has three steps."""
    root = tmp_path_factory.mktemp("longer")

    def trained(name: str, *overrides: str):
        flags = [f"--config.data.root={root / 'datasets'}", "--config.first_stage.steps=3"]
        flags += [f"--config.{each}" for each in overrides]
        train.main(["--config=demo:tiny,clip4clip", f"--workdir={root / name}", *flags])
        return root / name

    return trained


def _steps(workdir) -> list[int]:
    lines = [json.loads(line) for line in (workdir / "events/log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "train/loss" in line]


def test_a_finished_run_is_trained_longer_and_keeps_its_numbers_until_then(run, monkeypatch, capsys):
    workdir = run("one")
    first = (workdir / "metrics.json").read_text()
    capsys.readouterr()

    class StopsAt7(one_stage.Preemption):
        def __enter__(self):
            self.asked = 0
            return self

        def requested(self):
            self.asked += 1
            return True

    with monkeypatch.context() as patched:
        patched.setattr(one_stage, "Preemption", StopsAt7)
        with pytest.raises(Stopped, match="after step 7 of 9"):
            run("one", "steps=9")
    printed = capsys.readouterr().out
    assert "stretched over 9 steps: the learning rates rise from 0%" in printed
    assert "not those of a run planned for 9 steps" in printed
    assert (workdir / "metrics.json").read_text() == first
    run("one", "steps=9")  # not taken for finished
    assert _steps(workdir) == list(range(1, 10))
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["run"]["length"]["steps"] == 9 and json.loads(first)["run"]["length"]["steps"] == 6
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest() == 9
    for overrides, message in {
        ("steps=8",): "is trained to step 9 already, 8 steps are fewer",
        ("steps=12", "batch_size=4"): "another config .*batch_size: 8 there, 4 now",
        ("first_stage.steps=4",): "first_stage.steps: 3 there, 4 now|first_stage holds a run of another config",
        ("steps=12", "early_stop=1"): "ended early at step 9 .* give --config.early_stop=0",
    }.items():
        with pytest.raises(UserError, match=message):
            run("one", *overrides)
    assert json.loads((workdir / "metrics.json").read_text()) == metrics


def test_a_constant_schedule_stays_and_an_old_result_is_not_taken_for_the_longer_one(run, monkeypatch, capsys):
    constant = ("optimizer.schedule=constant", "optimizer.warmup=0.0")
    workdir = run("two", *constant)
    # As an older version wrote it: without its length.
    content = json.loads((workdir / "metrics.json").read_text())
    content["run"].pop("length")
    (workdir / "metrics.json").write_text(json.dumps(content))
    capsys.readouterr()
    assert run("two", *constant) and "step 1" not in capsys.readouterr().out  # finished
    monkeypatch.setattr(training, "train_stage", lambda *_: (_ for _ in ()).throw(UserError("killed")))
    with pytest.raises(UserError, match="killed"):
        run("two", *constant, "steps=8")
    assert "the learning rates stay as they were" in capsys.readouterr().out
    with pytest.raises(UserError, match="killed"):
        run("two", *constant, "steps=8")
    kept = json.loads((workdir / "metrics.json").read_text())
    assert dataclasses.is_dataclass(training.StageResult) and kept["run"]["length"]["steps"] == 6
