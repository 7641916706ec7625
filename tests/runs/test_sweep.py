"""Rows and seeds to one table; what is finished is not trained again."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy

import pytest

from eaglenet_jax import sweep
from eaglenet_jax.config.clip_sizes import CLIP_SIZES
from eaglenet_jax.config.loading import config_folder, config_names, load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.runs_table import compare, comparison_markdown, comparison_text
from eaglenet_jax.reports.stage_results import Selection, StageResult
from eaglenet_jax.runs import sweep as sweeping

TABLES = [name for name in config_names() if name.startswith("ablations/")]


def _result(recall: float, seconds: float = 10.0) -> StageResult:
    side = {"R@1": recall, "R@5": 2 * recall, "R@10": 90.0, "MdR": 1.0, "MnR": 1.5}
    metrics = {"test": {"t2v": side, "v2t": side, "Rsum": 6 * recall}}
    return StageResult("x", "eaglenet", "w", metrics, {"test": [4, 4]}, 1, Selection.VALIDATION, "ours", "0", seconds)


def test_the_table_has_mean_and_deviation_over_seeds():
    rows = [("one", [_result(10.0), _result(14.0)]), ("two", [_result(20.0)])]
    rows[1][1][0] = dataclasses.replace(rows[1][1][0], claimed={"source": "a paper", "t2v": {"R@1": 21.0}})
    comparison = compare(rows, "test")
    text = comparison_text(comparison).splitlines()
    assert "12.0 ± 2.8" in text[2] and "72.0 ± 17.0" in text[2] and text[2].split()[-2:] == ["2", "10"]
    assert "20.0 [21]" in text[3] and "±" not in text[3] and text[4] == "In brackets: claimed by a paper."
    markdown = comparison_markdown(comparison).splitlines()
    assert len({line.count("|") for line in markdown[:4]}) == 1 and markdown[2].startswith("| one | 12.0 ± 2.8 |")
    assert markdown[3].startswith("| two | **20.0** [21] |") and markdown[-1] == text[4]
    titles = [title.strip() for title in markdown[0].split("|")]
    assert [markdown[2].split("|")[titles.index(f"{side} Rsum")].strip() for side in ("t2v", "v2t")] == [
        "126.0 ± 8.5",
        "126.0 ± 8.5",
    ]
    # A lower mean rank is better; both have the same here, so both are best.
    assert markdown[2].count("**1.50 ± 0.00**") == 1 and markdown[3].count("**1.50**") == 1


def test_pointing_accuracy_is_a_column_where_a_system_has_one():
    def pointing(result: StageResult, **more: float) -> StageResult:
        test = result.metrics["test"]
        return dataclasses.replace(result, metrics={"test": {**test, "t2v": {**test["t2v"], **more}}})

    xpool = [pointing(_result(recall), pointing=recall + 50, pointing_chance=33.3) for recall in (10.0, 14.0)]
    rows = [("xpool", xpool), ("mean", [pointing(_result(20.0), pointing_chance=33.3)])]
    comparison = compare(rows, "test")
    text = comparison_text(comparison).splitlines()
    assert "t2v pointing" in text[0] and "62.0 ± 2.8" in text[2] and text[3].split()[-3:] == ["–", "1", "10"]
    assert text[-1].startswith("Pointing: ") and text[-1].endswith("by chance 33.3.")
    assert comparison.rows[0].cells[-1].best and not comparison.rows[1].cells[-1].best
    assert "pointing" not in comparison_text(compare([("mean", rows[1][1])], "test")).casefold()


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_every_table_is_a_config_and_they_differ(table):
    rows = sweeping.expand([f"{table}:demo"])
    assert len(rows) >= 3
    configs = [load_config(config) for _, config in rows]
    assert len({config.name for config in configs}) == len(rows)
    assert len({f"{config.head} {config.max_frames}" for config in configs}) == len(rows)
    assert load_config(f"{table}:{rows[0][0]},didemo,released").data.dataset == "didemo"


@pytest.mark.parametrize("table", TABLES)
def test_the_command_of_a_heading_trains_every_row_on_the_clip_that_it_names(table):
    path = config_folder() / f"{table}.py"
    (command,) = re.findall(r"^Command: .* --config=(\S+)", path.read_text(), re.MULTILINE)
    rows = sweeping.expand([command])
    assert [label for label, _ in rows] == list(runpy.run_path(str(path))["ROWS"])
    assert {load_config(config).clip.name for _, config in rows} == {CLIP_SIZES[command.rpartition(",")[2]]}


def test_rows_of_a_table_and_plain_configs_are_told_apart():
    assert [label for label, _ in sweeping.expand(["demo", "demo:xpool"])] == ["demo", "demo xpool"]
    assert [label for label, _ in sweeping.expand(["ablations/graph:gat,demo"])] == ["graph gat demo"]
    with pytest.raises(UserError, match="name a row of this table"):
        load_config("ablations/graph:demo")
    with pytest.raises(UserError, match="is about EagleNet, not xpool"):
        load_config("ablations/graph:gat,demo,xpool")
    for seeds in ("1,1", "a"):
        with pytest.raises(UserError, match=f"--seeds={seeds}"):
            sweep.main(["--config=demo", f"--seeds={seeds}"])


def test_what_cannot_run_is_said_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "train_run", lambda *_: pytest.fail("trained"))
    tables = ["--config=ablations/edges:demo", "--config=ablations/components:demo", f"--workdir={tmp_path}"]
    assert len({label for label, _ in sweeping.expand(["ablations/edges:demo", "ablations/components:demo"])}) == 11
    for arguments, message in (
        (["--config=demo", "--config=demo", f"--workdir={tmp_path}"], "give every --config once"),
        ([*tables, "--config.head.energy=mpl"], "energy 'mpl' is none of"),
        (["--config=demo:tiny", "--config.first_stage.data.seed=1", f"--workdir={tmp_path}"], "the two stages differ"),
        (["--config=ablations/edges:all,demo,didemo"], "demo and didemo exclude each other"),
    ):
        with pytest.raises(UserError, match=message):
            sweep.main(arguments)


def test_a_first_stage_is_trained_once_a_seed_and_every_row_starts_from_it(tmp_path, monkeypatch, capsys):
    trained = []

    def train_run(config, folder):
        trained.append((folder.relative_to(tmp_path).as_posix(), config.init_from, config.seed))
        return [dataclasses.replace(_result(10.0 + config.seed), workdir=str(folder))]

    monkeypatch.setattr(sweeping, "train_run", train_run)
    arguments = ["--config=demo:tiny", "--config=demo:tiny,xpool", "--seeds=0,1", f"--workdir={tmp_path}"]
    sweep.main([*arguments, "--config.steps=4"])
    stages = {folder for folder, source, _ in trained if not source}
    runs = [(folder, source, seed) for folder, source, seed in trained if source]
    assert len(stages) == 2 and len(runs) == 4
    assert {source for _, source, seed in runs if seed == 0} & {
        source for _, source, seed in runs if seed == 1
    } == set()
    assert "10.5 ± 0.7" in capsys.readouterr().out
    assert "| demo tiny xpool |" in (tmp_path / "table.md").read_text()


@pytest.mark.long
def test_a_sweep_of_real_runs(tmp_path, capsys):
    arguments = ["--config=demo:tiny,seqtransf", f"--workdir={tmp_path / 'sweep'}"]
    arguments.append(f"--config.data.root={tmp_path / 'datasets'}")
    sweep.main(arguments)
    first = capsys.readouterr().out
    assert "[1/1] demo tiny seqtransf, seed 0" in first
    sweep.main(arguments)
    again = capsys.readouterr().out
    assert "step" not in again and first.splitlines()[-5:] == again.splitlines()[-5:]
    seqtransf = json.loads((tmp_path / "sweep/demo_tiny_seqtransf/seed_0/config.json").read_text())
    assert seqtransf["head"]["temporal"] == "transformer" and "first_stages" in seqtransf["init_from"]
