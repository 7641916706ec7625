"""What was done once is not done again: a step is not traced a second time, CLIP before training not measured again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import pytest

from eaglenet_jax import train
from eaglenet_jax.runs import evaluate as evaluating
from eaglenet_jax.runs.evaluate import EvaluationOptions, evaluate_run, saved_parameters
from eaglenet_jax.runs.zero_shot import evaluate_zero_shot


def _trained(data: Path, workdir: Path) -> Path:
    config = ["--config=demo:tiny,clip4clip", f"--config.data.root={data}", "--config.steps=3"]
    train.main([*config, f"--workdir={workdir}"])
    return workdir


@pytest.mark.long
def test_a_second_training_reads_its_step(command, demo_datasets, tmp_path, capsys, monkeypatch):
    traced: list[object] = []
    export = jax.export.export
    monkeypatch.setattr(jax.export, "export", lambda step: traced.append(step) or export(step))
    metrics, said = [], []
    for name in ("first", "second"):
        workdir = _trained(demo_datasets, tmp_path / name)
        assert len(traced) == 2  # one for each stage, in the first run alone
        content = json.loads((workdir / "metrics.json").read_text())
        metrics.append({split: content[split] for split in ("val", "test")})
        said.append([line for line in capsys.readouterr().out.splitlines() if "GFLOP" in line])
    assert len(list(command.iterdir())) == len(said[0]) == 2  # one for each stage
    assert metrics[0] == metrics[1]
    assert said[1] == [line.replace("compiling the first step", "reading its program") for line in said[0]] != said[0]


def test_the_row_before_training_is_read_where_it_is_that_of_the_run(demo_datasets, tmp_path, monkeypatch):
    """What is measured again is what the training measured; another config, other data and damage are seen."""
    workdir = _trained(demo_datasets, tmp_path / "run")
    measured: list[object] = []
    monkeypatch.setattr(
        evaluating, "evaluate_zero_shot", lambda *given: measured.append(given) or evaluate_zero_shot(*given)
    )

    def row() -> tuple[dict, int]:
        before = len(measured)
        stage = evaluate_run(workdir, EvaluationOptions("test"))[-1]
        assert stage.zero_shot is not None
        return stage.result.zero_shot | {"places": stage.zero_shot.t2v.greater.tolist()}, len(measured) - before

    known, times = row()
    assert not times and known["name"] == "untrained CLIP"
    ranks, result = workdir / "ranks.npz", workdir / "metrics.json"
    content = result.read_text()
    shutil.copy(ranks, tmp_path)
    for damage in (
        lambda: ranks.unlink(),
        lambda: ranks.write_bytes(b"no ranks"),
        lambda: result.write_text(content.replace(json.loads(content)["run"]["config_hash"], "0123456789")),
        lambda: result.write_text(re.sub('"split_hash": {[^}]*}', '"split_hash": {"test": "another"}', content)),
        lambda: result.write_text(content.replace(f'"jax": "{jax.__version__}"', '"jax": "another"')),
        lambda: result.unlink(),
        lambda: monkeypatch.setattr(evaluating, "saved_parameters", _of_other_data),
    ):
        damage()
        assert row() == (known, 1)
        shutil.copy(tmp_path / ranks.name, ranks)
        result.write_text(content)
    monkeypatch.setattr(evaluating, "saved_parameters", saved_parameters)
    assert row() == (known, 0)
    evaluate_run(workdir, EvaluationOptions("test", shuffle_frames=True))
    assert len(measured) == 8


def _of_other_data(*given):
    return dataclasses.replace(saved_parameters(*given), data_fingerprint="of other data")
