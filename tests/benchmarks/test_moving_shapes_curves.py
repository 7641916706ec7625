from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

from benchmarks import moving_shapes_curves as curves
from eaglenet_jax.errors import UserError


@pytest.fixture
def sweeps(tmp_path, monkeypatch):
    """Folders of two positions of the dial: two seeds of a frozen head, one run of another."""
    values = {"1/x/seed_0": 60.0, "1/x/seed_1": 64.0, "3/x/seed_0": 50.0, "3/y": 20.0}
    for name in values:
        (tmp_path / name).mkdir(parents=True)

    def result(workdir):
        metrics = {"test": {"t2v": {"R@1": values[str(workdir.relative_to(tmp_path))]}}}
        return SimpleNamespace(metrics=metrics, zero_shot={"test": {"t2v": {"R@1": 7.0}}})

    monkeypatch.setattr(
        curves, "find_runs", lambda folders: [tmp_path / n for n in values if folders[0] in (tmp_path / n).parents]
    )
    monkeypatch.setattr(curves, "read_result", result)
    monkeypatch.setattr(
        curves,
        "saved_config",
        lambda workdir: SimpleNamespace(
            system="yhead" if workdir.name == "y" else "xpool", cached_features=workdir.name != "y"
        ),
    )
    monkeypatch.setattr(curves, "oracle_metrics", lambda workdir, split: {"t2v": {"R@1": 53.0}})
    return tmp_path


def test_runs_become_a_table_and_a_picture(sweeps, capsys) -> None:
    out = sweeps / "picture.svg"
    curves.main([f"3={sweeps / '3'}", f"1={sweeps / '1'}", "--dial=a < b", f"--out={out}"])
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines()[:6]}
    assert rows["a < b"] == "| a < b | 1 | 3 |"
    assert rows["xpool"] == "| xpool | 62.0 ± 2.8 | 50.0 |" and rows["yhead"] == "| yhead | – | 20.0 |"
    assert rows[curves.MEAN].endswith("| 7.0 | 7.0 |") and rows[curves.ORACLE].endswith("| 53.0 | 53.0 |")
    svg = ET.parse(out).getroot()
    lines = [each for each in svg if each.tag.endswith("polyline")]
    # Six lines of the grid; four systems with a key each; one deviation.
    assert len(lines) == 6 + 4 * 2 + 1
    heights = {each.get("cy") for each in svg if each.tag.endswith("circle")}
    assert len(heights) == 5  # 62, 50, 20, 7, 53


def test_a_line_has_the_weight_that_validation_chose(sweeps, capsys) -> None:
    runs = [[{"t2v": {"R@1": 40.0}}, {"t2v": {"R@1": value}}] for value in (44.0, 46.0)]
    file = sweeps / "weights.json"
    file.write_text(json.dumps({"weights": [0.0, 0.1], "chosen": 0.1, "test": runs}))
    curves.main([f"3={sweeps / '3'}", "--match-weights", f"3={file}"])
    assert f"| {curves.WEIGHTED} | 45.0 ± 1.4 |" in capsys.readouterr().out
    for broken in ("{}", "no JSON", '{"weights": [0.0], "chosen": 0.1, "test": []}'):
        file.write_text(broken)
        with pytest.raises(UserError, match=r"give a file with the output of benchmarks\.match_weight --json"):
            curves.main([f"3={sweeps / '3'}", "--match-weights", f"3={file}"])


def test_the_dial_is_a_number() -> None:
    with pytest.raises(UserError, match="as 3=runs/events_3"):
        curves.main(["runs/events_3"])
