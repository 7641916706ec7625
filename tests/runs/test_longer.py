"""A run that is given another length: a finished one is trained further, its numbers stay until there are new ones."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from eaglenet_jax import train
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import Stopped, UserError
from eaglenet_jax.runs import train as training
from eaglenet_jax.runs import train_stage as one_stage
from eaglenet_jax.runs.length import changed_length
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.training.checkpoints import Checkpoints

pytestmark = pytest.mark.long  # runs of several minutes in all


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
        ("steps=12", "batch_size=0"): "config.batch_size is 0; give 1 or more",
        ("first_stage.steps=4",): "first_stage.steps: 3 there, 4 now|first_stage holds a run of another config",
        ("steps=12", "early_stop=1"): "ended early at step 9 .* give --config.early_stop=0",
    }.items():
        with pytest.raises(UserError, match=message):
            run("one", *overrides)
    assert json.loads((workdir / "metrics.json").read_text()) == metrics


def _without_length(workdir) -> None:
    """Give a work directory the metrics.json of an older version, which did not record its length."""
    content = json.loads((workdir / "metrics.json").read_text())
    content["run"].pop("length")
    (workdir / "metrics.json").write_text(json.dumps(content))


def _killed(*_):
    raise UserError("killed")


def test_a_constant_schedule_stays_and_an_old_result_is_not_taken_for_the_longer_one(run, monkeypatch, capsys):
    constant = ("optimizer.schedule=constant", "optimizer.warmup=0.0")
    workdir = run("two", *constant)
    _without_length(workdir)
    _without_length(workdir / "first_stage")
    monkeypatch.setattr(training, "train_stage", _killed)
    capsys.readouterr()
    printed = []
    for _ in range(2):
        with pytest.raises(UserError, match="killed"):
            run("two", *constant, "steps=8")
        printed += capsys.readouterr().out.splitlines()
        kept = json.loads((workdir / "metrics.json").read_text())
        assert kept["run"]["length"]["steps"] == 6 and saved_config(workdir).steps == 8
    note = "step 6 of 6 before, 8 now; schedule constant: the learning rates stay as they were"
    assert [line.split(maxsplit=1)[1] for line in printed if line.startswith("length ")] == [note]
    run("two", *constant, "steps=6")  # finished: nothing is trained


def test_a_run_of_one_stage_in_the_old_form_is_trained_longer_and_finished_otherwise(run, monkeypatch, tmp_path):
    shutil.copytree(run("one_stage") / "first_stage", tmp_path / "run")
    _without_length(tmp_path / "run")
    config = saved_config(tmp_path / "run")
    monkeypatch.setattr(training, "train_stage", _killed)
    assert [result.best_step for result in training.train_run(config, tmp_path / "run")] == [3]
    _without_length(tmp_path / "run")
    config.steps = 5
    with pytest.raises(UserError, match="killed"):
        training.train_run(config, tmp_path / "run")


def test_processes_decide_before_the_first_of_them_overwrites_anything(run, monkeypatch):
    workdir = run("several")
    _without_length(workdir)
    before = [(workdir / file).read_text() for file in ("config.json", "metrics.json")]
    met = []

    def meet(name):
        met.append(name)
        assert [(workdir / file).read_text() for file in ("config.json", "metrics.json")] == before

    monkeypatch.setattr(training.jax, "process_count", lambda: 2)
    monkeypatch.setattr(training.multihost_utils, "sync_global_devices", meet)
    monkeypatch.setattr(training, "train_stage", _killed)
    with pytest.raises(UserError, match="killed"):
        run("several", "steps=8")
    assert met == ["the run is checked"] and saved_config(workdir).steps == 8


def test_the_steps_of_before_are_those_that_were_trained(tmp_path):
    config = load_config("demo:tiny,clip4clip", [f"--config.data.root={tmp_path}"])
    stage = dataclasses.replace(plan_run(config, tmp_path / "run").stages[-1], steps=23, per_pass=21)
    with Checkpoints(stage.folder / "checkpoints") as checkpoints:
        best = {"step": 1, "recall": 0.5}
        checkpoints.save(1, {"params": {"head": np.zeros(1, np.float32)}, "opt_state": {}}, {"best": best}, best=True)
    old = config.copy_and_resolve_references()
    old.steps, old.epochs = 0, 1.0
    assert changed_length(stage, old).startswith("step 1 of 21 before, 23 now")
