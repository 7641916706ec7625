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
from eaglenet_jax.reports.claims import claimed
from eaglenet_jax.reports.runs_table import compare
from eaglenet_jax.reports.runs_text import comparison_markdown, comparison_text
from eaglenet_jax.reports.stage_results import Selection, StageResult
from eaglenet_jax.runs import sweep as sweeping

TABLES = [name for name in config_names() if name.startswith("ablations/")]


def _result(recall: float, seconds: float = 10.0) -> StageResult:
    side = {"R@1": recall, "R@5": 2 * recall, "R@10": 90.0, "MdR": 1.0, "MnR": 1.5}
    metrics = {"test": {"t2v": side, "v2t": side, "Rsum": 6 * recall}}
    return StageResult("x", "eaglenet", "w", metrics, {"test": [4, 4]}, 1, Selection.VALIDATION, "ours", "0", seconds)


def _tables(text: str) -> dict[str, list[list[str]]]:
    """Tables of plain text by their title, each line as its label and cells."""
    found = {}
    for table in text.split("\n\n"):
        first, rule, *lines = [*table.splitlines(), "", ""]
        if rule.startswith("─"):
            title = re.split(r"\s{2,}", first)[0]
            found[title] = [re.split(r"\s{2,}", line.strip()) for line in lines if line]
    return found


def test_the_table_has_mean_and_deviation_over_seeds():
    rows = [("one", [_result(10.0), _result(14.0)]), ("two", [_result(20.0)])]
    claim = {"source": "a paper", "t2v": {"R@1": 21.0}}
    rows[1][1][0] = dataclasses.replace(rows[1][1][0], claimed=claim)
    comparison = compare(rows, "test")
    text = comparison_text(comparison)
    tables = _tables(text)
    assert list(tables) == ["text → video", "video → text", "both directions"]
    one, two, below = tables["text → video"]
    assert one == ["one", "12.0 ± 2.8", "24.0 ± 5.7", "90.0 ± 0.0", "1.0 ± 0.0", "1.50 ± 0.00", "126.0 ± 8.5"]
    assert two == ["two", "20.0", "40.0", "90.0", "1.0", "1.50", "150.0"] and below == ["[21]"]
    assert tables["video → text"] == [one, two]
    assert tables["both directions"] == [["one", "72.0 ± 17.0", "2", "10"], ["two", "120.0", "1", "10"]]
    lines = text.splitlines()
    ends = [line.index(number) + len(number) for line, number in zip(lines[3:5], ("20.0", "[21]"), strict=True)]
    assert ends[0] == ends[1]  # a claim stands below its number
    assert lines[-1] == "In brackets: claimed by a paper."
    first, second, _, _ = comparison_markdown(comparison).split("\n\n")
    markdown = first.splitlines()
    assert len({line.count("|") for line in markdown}) == 1 and markdown[2].startswith("| one | 12.0 ± 2.8 |")
    assert markdown[0] == "| text → video | R@1 | R@5 | R@10 | MdR | MnR | Rsum |"
    assert markdown[3].startswith("| two | **20.0** [21] |") and "| two | **20.0** | **40.0** |" in second
    # Both have the same mean rank, so neither is best; a lower one is.
    assert "| 1.50 ± 0.00 |" in markdown[2] and "| 1.50 |" in markdown[3]
    third = _result(5.0)
    third.metrics["test"]["t2v"]["MnR"] = 1.25
    (first, *_) = comparison_markdown(compare([*rows, ("three", [third])], "test")).split("\n\n")
    assert "**1.25**" in first and "**1.50" not in first and "## " not in first


def test_a_table_is_no_wider_than_a_terminal_and_long_labels_go_on_below():
    side = {"R@1": 44.4, "R@5": 73.3, "R@10": 84.0, "MdR": 2.0, "MnR": 109.0}
    claim = {"source": "a paper, table 1", "t2v": side, "others": [{"source": "much " * 12 + "longer", "v2t": side}]}
    seeds = [
        dataclasses.replace(_result(recall), claimed=claim, zero_shot={"name": "CLIP", **_result(30.0).metrics})
        for recall in (10.0, 24.0)
    ]
    label = "ablations crosstvr_first_stages clip4clip msrvtt b32 paper (0123456789)"
    text = comparison_text(compare([(label, seeds)], "test"))
    assert max(map(len, text.splitlines())) <= 120
    t2v, v2t, both = text.split("\n\n")[:3]
    for table in (t2v, v2t, both):
        assert set(label.split()) <= set(table.split()) and "CLIP" in table
    # A claim of one direction stands in its table alone.
    assert "[109]" in t2v and "longer" not in t2v and "[109]" not in v2t and "109.00" in v2t and "longer" not in both


def test_pointing_accuracy_is_a_column_where_a_system_has_one():
    def pointing(result: StageResult, **more: float) -> StageResult:
        test = result.metrics["test"]
        return dataclasses.replace(result, metrics={"test": {**test, "t2v": {**test["t2v"], **more}}})

    xpool = [pointing(_result(recall), pointing=recall + 50, pointing_chance=33.3) for recall in (10.0, 14.0)]
    rows = [("xpool", xpool), ("mean", [pointing(_result(20.0), pointing_chance=33.3)])]
    comparison = compare(rows, "test")
    text = comparison_text(comparison)
    lines = text.splitlines()
    assert lines[0].split()[-1] == "pointing" and lines[2].endswith("  62.0 ± 2.8") and lines[3].split()[-1] == "–"
    assert text.count("pointing") == 1
    assert "Pointing: " in text and " ".join(text.split()).endswith("by chance 33.3.")
    assert not comparison.rows[0].cells[-1].best and not comparison.rows[1].cells[-1].best
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
    for seeds, wrong in {"1,1": "has a number twice", "a": "is not a list of whole numbers"}.items():
        with pytest.raises(UserError, match=f"argument --seeds: '{seeds}' {wrong}"):
            sweep.main(["--config=demo", f"--seeds={seeds}"])


def test_a_config_that_raises_an_error_without_a_message_is_named_with_its_type(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise NameError")
    with pytest.raises(UserError, match=rf"^--config={re.escape(str(file))}: NameError$"):
        sweeping.expand([str(file)])


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


@pytest.fixture
def trained(tmp_path, monkeypatch) -> list[tuple[str, str, int]]:
    """(folder, init_from, seed) of runs, which have an R@1 of 10 and their seed, first stages half of that."""
    runs = []

    def train_run(config, folder):
        runs.append((folder.relative_to(tmp_path).as_posix(), config.init_from, config.seed))
        recall = (10.0 + config.seed) / (1 if config.init_from else 2)
        found = dataclasses.replace(_result(recall), workdir=str(folder), system=config.system)
        return [
            dataclasses.replace(found, name=config.name, claimed=claimed(config.claim), gallery={"test": [1000] * 2})
        ]

    monkeypatch.setattr(sweeping, "train_run", train_run)
    monkeypatch.setattr(sweeping, "plan_run", lambda *_: None)
    return runs


def test_a_first_stage_is_trained_once_a_seed_and_every_row_starts_from_it(tmp_path, trained, capsys):
    arguments = ["--config=demo:tiny", "--config=demo:tiny,xpool", "--seeds=0,1", f"--workdir={tmp_path}"]
    sweep.main([*arguments, "--config.steps=4"])
    stages = {folder for folder, source, _ in trained if not source}
    runs = [(folder, source, seed) for folder, source, seed in trained if source]
    assert len(stages) == 2 and len(runs) == 4
    assert {source for _, source, seed in runs if seed == 0} & {
        source for _, source, seed in runs if seed == 1
    } == set()
    first, *rows = _tables(capsys.readouterr().out.rpartition("seed 1\n\n")[2])["text → video"]
    assert first[:2] == ["first stage demo_clip (clip4clip)", "5.2 ± 0.4"]
    assert [row[:2] for row in rows] == [["demo tiny", "10.5 ± 0.7"], ["demo tiny xpool", "10.5 ± 0.7"]]
    assert "| demo tiny xpool |" in (tmp_path / "table.md").read_text()


# CrossTVR's table 8, text → video and video → text: R@1, R@5, MnR.
BASELINES = (
    {"clip4clip": [44.5, 71.4, 15.3], "ts2net": [47.0, 74.5, 13.0], "xpool": [46.9, 72.8, 14.3]},
    {"clip4clip": [42.7, 70.9, 11.6], "ts2net": [45.3, 74.1, 9.2], "xpool": [44.4, 73.3, 9.0]},
)


def test_each_first_stage_has_one_row_with_the_numbers_of_the_paper(tmp_path, trained):
    """CrossTVR's tables 6 and 8 to 10 begin with the systems that its second stage is put on."""
    rows = sweeping.expand(["ablations/crosstvr_first_stages:msrvtt,b32,paper"])
    text, file = sweeping.run_sweep(rows, (0, 1), tmp_path)
    tables = _tables(text)
    labels = [row[0] for row in tables["text → video"] if row[0].startswith("first stage")]
    assert labels == [f"first stage msrvtt ({system})" for system in ("clip4clip", "ts2net", "xpool", "eaglenet")]
    for table, printed in zip(file.read_text().split("\n\n")[:2], BASELINES, strict=True):
        for system, numbers in printed.items():
            lines = table.partition(f"| first stage msrvtt ({system}) ")[2].partition("| first stage")[0].splitlines()
            # The last number of a cell is the paper's, also where ours stands before it.
            found = [[re.findall(r"[\d.]+", cell)[-1:] for cell in line.split("|")[-8:]] for line in lines]
            assert numbers in [[float(row[place][0]) for place in (1, 2, 5) if row[place]] for row in found]
    assert [row[-2] for row in tables["both directions"] if row[0].startswith("first stage")] == ["2"] * 4
    # A stage that is a row of its own as well has that row alone.
    trained.clear()
    both = sweeping.expand(["msrvtt:b32,crosstvr_ts2net,paper", "msrvtt:b32,ts2net,paper"])
    assert "first stage" not in sweeping.run_sweep(both, (0,), tmp_path / "both")[0]


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
