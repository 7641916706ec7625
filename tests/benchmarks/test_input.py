"""The benchmark of the input pipeline on a few tiny clips."""

from __future__ import annotations

import json

import pytest

from benchmarks import input as input_benchmark
from data_prep.demo import DemoData, ensure_moving_shapes
from eaglenet_jax.errors import UserError

pytestmark = pytest.mark.long

STEP = {"clip": "tiny", "size": 32, "seconds": 0.5, "frames_per_second": 8.0, "clips_per_second": 2.0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return ensure_moving_shapes(DemoData(folder, splits={"train": 4}, fps=2, size=32), workers=1, progress=False)


def test_prints_json_of_which_the_table_is_made(prepared, monkeypatch, capsys) -> None:
    monkeypatch.setattr(input_benchmark, "consumption", lambda sizes, steps: STEP)
    small = ["--batch=2", "--frames=4", "--batches=2", "--rounds=1", "--workers=0,1"]
    input_benchmark.main([f"--prepared={prepared}", *small, "--json"])
    result = json.loads(capsys.readouterr().out)
    (read,) = result["read"]
    assert [row["workers"] for row in read["pipeline"]] == [0, 1]
    for row in read["pipeline"]:
        assert row["times_pil"] == pytest.approx(row["frames_per_second"] / read["pil_frames_per_second"])
        assert row["times_step"] == pytest.approx(row["clips_per_second"] / STEP["clips_per_second"])
    assert result["to_device"]["float32_megabytes"] == 4 * result["to_device"]["uint8_megabytes"]
    shown = input_benchmark.table(result)
    assert "pipeline, 1 workers" in shown and "uint8" in shown


def test_frames_of_another_size_are_not_compared_with_the_step(prepared, monkeypatch, capsys) -> None:
    monkeypatch.setattr(input_benchmark, "consumption", lambda sizes, steps: STEP | {"size": 48})
    monkeypatch.setattr(input_benchmark, "CLIP_SIZE", 16)
    monkeypatch.setattr(input_benchmark, "MADE_CLIPS", 4)
    input_benchmark.main(["--batch=2", "--frames=2", "--batches=1", "--rounds=1", "--workers=0", "--json"])
    small, wanted = json.loads(capsys.readouterr().out)["read"]
    assert (small["size"], wanted["size"]) == (16, 48)
    assert small["pipeline"][0]["times_step"] is None and wanted["pipeline"][0]["times_step"] > 0


def test_refuses_arguments_that_mean_nothing() -> None:
    with pytest.raises(UserError, match="at least 1"):
        input_benchmark.main(["--rounds=0"])
    with pytest.raises(UserError, match="argument --workers: 'many' is not a list of whole numbers such as 0,1,2"):
        input_benchmark.main(["--workers=many"])
