"""The visit of a GPU at tiny sizes, on any device."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_kernels, gpu_scoring, gpu_steps, train_step_ours
from eaglenet_jax.config.moving_shapes import CLIP as TINY_CLIP
from eaglenet_jax.config.moving_shapes import SMALLEST_CLIP
from eaglenet_jax.errors import UserError

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture
def smallest(monkeypatch) -> None:
    """The smallest CLIP in place of the tiny one, and no PyTorch."""
    monkeypatch.setitem(train_step_ours.CLIPS, "tiny", TINY_CLIP | SMALLEST_CLIP)
    monkeypatch.setattr(gpu_scoring, "has_torch", lambda: False)


def test_every_part_is_measured_and_written(smallest, tmp_path, capsys) -> None:
    parts = [part for part in gpu.PARTS if part != "demo"]  # see the next test
    assert gpu.main(["--tiny", f"--parts={','.join(parts)}", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert set(result["seconds"]) == set(parts) and not result["errors"]
    tables = result["tables"]
    assert set(tables) == set(gpu.TABLES) - {"demo", "torch_steps"}
    types = [*gpu_scoring.TYPES, *(f"{name}, kernel (interpret)" for name in gpu_scoring.TYPES)]
    assert [row["type"] for row in tables["agreement"]] == [row["type"] for row in tables["gallery"]] == types
    assert [row["type"] for row in tables["blocks"]] == [types[2], types[5]]
    assert [row["launch"] for row in tables["launches"]] == [None, [1, 16], [2, 16]]
    assert all(row["device_microseconds_a_pair"] > 0 for row in tables["launches"])
    assert [0 < row["largest_difference"] < 5e-2 for row in tables["launches"]] == [False, True, True]
    assert tables["attention"][0]["kernel"] == "xla" and 0 < tables["attention"][0]["gradient"] < 1e-2
    for exact, _, half in (tables["agreement"][:3], tables["agreement"][3:]):
        assert exact["to_cpu"] < 1e-6 < half["to_cpu"] < 5e-2
    assert tables["records"][0]["quantities"] > 10 and not tables["records"][0]["beyond_tolerance"]
    exact, default, half, kernel, *_ = tables["gallery"]
    assert exact["largest_difference"] == 0 and default["largest_difference"] < 1e-2 > half["largest_difference"] > 0
    assert exact["same_first_percent"] == exact["R@10"] == 100
    assert 0 < kernel["largest_difference"] < 1e-6 and kernel["seconds"] > 0
    assert tables["beside"][0]["largest_difference"] < 1e-5
    assert [row["options"] for row in tables["steps"]] == ["", "pairwise_block=2"]
    assert all(row["clips_per_second"] > 0 and row["temporary_bytes"] > 0 for row in tables["steps"])
    assert tables["batches"][0]["bytes_a_clip"] > 0 and tables["batches"][0]["batch"] is None
    for name in ("scoring_kernels", "scoring_kernel_kernels", "step_kernels"):
        assert 0 < len(tables[name]) <= gpu_kernels.LISTED
        assert any(row["bytes"] for row in tables[name]) and 0.1 < sum(row["share"] for row in tables[name]) < 1.001
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert all(title in text for name, (title, _) in gpu.TABLES.items() if name in tables)


def test_a_gallery_is_scored_in_the_types_that_are_asked_for(smallest, tmp_path) -> None:
    given = ["--tiny", "--parts=scoring", "--types=bfloat16", "--out", str(tmp_path)]
    assert gpu.main(given) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["tables"]["gallery"]
    assert [row["type"] for row in rows] == ["bfloat16", "bfloat16, kernel (interpret)"]
    assert all(row["largest_difference"] is None for row in rows)  # float32 was not measured
    with pytest.raises(UserError, match="--types=int8: give some of float32, highest; float32, default; bfloat16"):
        gpu.main(["--tiny", "--types=int8", "--out", str(tmp_path)])


def test_the_demo_is_trained_and_its_table_kept(tmp_path) -> None:
    assert gpu.main(["--tiny", "--parts=demo", "--out", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "gpu.json").read_text())["tables"]["demo"]
    assert row["status"] == 0 and row["config"] == "demo:tiny" and "R@1" in row["end"]
    assert row["end"] in (tmp_path / "gpu.md").read_text()


def test_rounds_that_are_given_count_beside_tiny(monkeypatch, tmp_path) -> None:
    found = []

    def part(visit, shared):
        found.append(visit.rounds)
        return iter(())

    monkeypatch.setattr(gpu, "PARTS", {"right": part})
    for given in ([], ["--rounds=3"]):
        assert gpu.main(["--tiny", *given, "--parts=right", "--out", str(tmp_path)]) == 0
    assert found == [gpu.TINY.rounds, 3]


def test_what_was_measured_before_a_failure_is_kept_and_the_rest_goes_on(monkeypatch, tmp_path, capsys) -> None:
    def failing(visit, peaks):
        yield "agreement", {"type": "t", "to_cpu": 0.5, "between_blocks": 0.25, "spread_of_scores": 1.0}
        assert json.loads((tmp_path / "gpu.json").read_text())["tables"]["agreement"]
        raise RuntimeError("out of memory")

    after = lambda visit, peaks: iter([("demo", {"config": "c", "status": 0, "seconds": 1.0, "end": "R@1"})])  # noqa: E731
    monkeypatch.setattr(gpu, "PARTS", {"right": failing, "demo": after})
    assert gpu.main(["--tiny", "--rounds=2", "--parts=right,demo", "--out", str(tmp_path)]) == 1
    text = (tmp_path / "gpu.md").read_text()
    assert "| t | 5.0e-01 | 2.5e-01 |" in text and "R@1" in text and "Part right failed: RuntimeError" in text
    assert "out of memory" in capsys.readouterr().err


def test_times_of_operations_come_from_the_trace(tmp_path) -> None:
    events = [
        {"ph": "X", "name": "a", "dur": 30, "args": {"hlo_op": "fusion.1"}},
        {"ph": "X", "name": "a", "dur": 10, "args": {"hlo_op": "fusion.1"}},
        {"ph": "X", "name": "host", "dur": 99},
        {"ph": "M", "name": "process_name", "args": {"name": "/device:GPU:0"}},
    ]
    with gzip.open(tmp_path / "vm.trace.json.gz", "wt") as stream:
        json.dump({"traceEvents": events}, stream)
    seconds, calls = gpu_kernels.operation_seconds(tmp_path)
    assert seconds == {"fusion.1": pytest.approx(40e-6)} and calls == {"fusion.1": 2}


def test_a_gpu_is_read_by_its_streams_and_graphs_by_their_kernels(tmp_path) -> None:
    stream, derived = {"ph": "X", "pid": 1, "tid": 13}, {"ph": "X", "pid": 1, "tid": 2}
    events = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 13, "args": {"name": "Stream #13(Compute)"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "XLA Ops"}},
        stream | {"name": "loop_fusion_1", "dur": 30, "args": {"hlo_op": "loop_fusion.1"}},
        stream | {"name": "nvjet_gemm", "dur": 10, "args": {"hlo_op": "command_buffer_2"}},
        stream | {"name": "MemcpyD2D", "dur": 5},
        derived | {"name": "loop_fusion.1", "dur": 30, "args": {"hlo_op": "loop_fusion.1"}},
    ]
    with gzip.open(tmp_path / "vm.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)
    seconds, _ = gpu_kernels.operation_seconds(tmp_path)
    assert seconds == {
        name: pytest.approx(time * 1e-6)
        for name, time in {"loop_fusion.1": 30, "nvjet_gemm": 10, "MemcpyD2D": 5}.items()
    }


TALKER = """
import json, sys
for line in sys.stdin:
    sizes, rounds = json.loads(line)
    print("a library's notice")
    if sizes["clip"] == "b16":
        sys.exit(1)
    print(json.dumps({"clip": sizes["clip"], "rounds": rounds, "device": sys.argv[1]}), flush=True)
"""


def test_a_process_answers_and_one_that_ends_gives_a_row_with_its_error() -> None:
    process = gpu_steps.TorchProcess("cpu", ("-c", TALKER))
    sizes = train_step_ours.StepSizes("tiny", 4, 2)
    assert process.measure(sizes, 3) == {"clip": "tiny", "rounds": 3, "device": "cpu"}
    for _ in range(2):
        row = process.measure(dataclasses.replace(sizes, clip="b16"), 3)
        assert row["clip"] == "b16" and "ended" in row["error"] and "ended" in gpu_steps.torch_table([row])
    process.close()


def test_the_script_starts_from_anywhere(tmp_path) -> None:
    script = [str(ROOT / "benchmarks/gpu.sh"), "--help"]
    run = subprocess.run(
        script, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert run.returncode == 0 and "--tiny" in run.stdout, run.stderr
