"""`report`: finished runs in one table, those that differ by their seed together."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from eaglenet_jax import report
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.metrics.score_files import read_scores
from eaglenet_jax.reports import claims
from eaglenet_jax.reports.stage_results import Selection, StageResult
from eaglenet_jax.runs.collect import families, find_runs
from eaglenet_jax.runs.saved_config import save_config, saved_config
from eaglenet_jax.runs.workdir import read_result, write_result


def _run(folder: Path, config: str, seed: int, recall: float, videos: int = 1000, **changes: object) -> Path:
    loaded = load_config(
        config, [f"--config.seed={seed}", *(f"--config.{name}={value}" for name, value in changes.items())]
    )
    save_config(loaded, folder)
    side = {"R@1": recall, "R@5": 80.0, "R@10": 90.0, "MdR": 1.0, "MnR": 2.0}
    metrics = {"test": {"t2v": side, "v2t": side, "Rsum": 300.0 + recall}}
    claimed = claims.claimed(loaded.claim)
    result = StageResult(
        "x", loaded.system, "w", metrics, {"test": [videos, videos]}, 1, Selection.VALIDATION, "ours", "0", 9.0
    )
    before = {**side, "R@1": 30.5 if loaded.init_from else 1.0 + seed}
    zero_shot = {"name": "zero-shot CLIP", "test": {"t2v": before, "v2t": before, "Rsum": 250.0}}
    chosen = Selection.TEST if loaded.selection == "test" else Selection.VALIDATION
    changed = {"claimed": claimed, "seed": seed, "zero_shot": zero_shot, "selection": chosen}
    write_result(StageResult(**{**result.__dict__, **changed}), folder)
    return folder


def test_seeds_come_together_and_claims_stand_beside(tmp_path, capsys) -> None:
    _run(tmp_path / "runs/sweep/msrvtt_b16/seed_0", "msrvtt:b16", 0, 50.0)
    _run(tmp_path / "runs/sweep/msrvtt_b16/seed_1", "msrvtt:b16", 1, 52.0)
    _run(tmp_path / "runs/sweep/msrvtt_b16/seed_1/first_stage", "msrvtt:b16,clip4clip", 1, 1.0)
    _run(tmp_path / "runs/xpool", "msrvtt:b16,xpool", 0, 49.0)
    _run(tmp_path / "runs/fewer_steps", "msrvtt:b16", 0, 40.0, steps=7)
    (tmp_path / "runs/table.md").write_text("a file beside the runs")
    report.main([*map(str, sorted((tmp_path / "runs").iterdir())), f"--out={tmp_path / 'out/table.html'}"])
    printed = capsys.readouterr().out
    assert "51.0 ± 1.4" in printed and "[49.2]" in printed and "seed_1" not in printed
    assert max(map(len, printed.partition("\n  /")[0].splitlines())) <= 120
    markdown = (tmp_path / "out/table.md").read_text()
    assert (
        "| msrvtt_b16 (eaglenet) | **51.0 ± 1.4** [51] |" in markdown
        and "| fewer_steps (eaglenet) | 40.0 [51] |" in markdown
    )
    assert (
        "In brackets: claimed by EagleNet (CVPR 2026), table 1 (fewer_steps (eaglenet), msrvtt_b16 (eaglenet)); "
        "EagleNet (CVPR 2026), table 1, a rerun by its authors (xpool)."
    ) in markdown
    of_xpool = "| · X-Pool, as printed in T-MASS's tables 1 and 3 "
    assert f"{of_xpool}| 48.2 | 73.7 | 82.6 | 2.0 | 12.70 | 204.5 |" in markdown  # its paper's numbers in both tables
    assert f"{of_xpool}| 46.4 | 73.9 | 84.1 | 2.0 | 8.40 | 204.4 |" in markdown
    assert "| msrvtt_b16 (eaglenet) | **51.0 ± 1.4** [49.2] | 80.0 ± 0.0 [77.1] |" in markdown
    assert "Rows with a dot: what other papers claim for the system above." in markdown
    page = (tmp_path / "out/table.html").read_text()
    assert re.search(r'<td [^>]*class="best">51\.0 ± 1\.4<small>claimed 51</small></td>', page)


def test_what_is_left_out_is_said(tmp_path, capsys) -> None:
    run = _run(tmp_path / "runs/done", "msrvtt:b16", 0, 100.0, videos=1)
    result = read_result(run)
    assert result is not None
    sure = {"R@1": 100.0, "R@5": 100.0, "R@10": 100.0, "MdR": 1.0, "MnR": 1.0}
    write_result(dataclasses.replace(result, chance={"test": {"t2v": sure, "v2t": sure, "Rsum": 600.0}}), run)
    for unfinished in ("runs/done/first_stage", "runs/early/first_stage/first_stage", "runs/stopped"):
        (tmp_path / unfinished / "checkpoints").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    report.main([str(tmp_path / "runs"), f"--out={tmp_path / 'table'}"])
    printed = capsys.readouterr().out
    names = ", ".join(str(tmp_path / "runs" / name) for name in ("early", "stopped"))
    assert f"left out, because they are not finished: {names}\n" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("done") and "1.0" in line][:1]
    assert "100.0" not in row and row.count("–") == 4  # R@1, R@5, R@10 and their sum
    assert "R@1, R@5, R@10 would be 100 whatever the scores in a gallery of this size." in printed
    assert "whatever the scores" in (tmp_path / "table.html").read_text()


def test_what_cannot_be_compared_is_kept_apart(tmp_path, capsys) -> None:
    """Other queries: a table of their own, without claims of the 1,000. A seed twice: one run. Chosen on test: said."""
    _run(tmp_path / "one", "msrvtt:b16", 0, 50.0)
    _run(tmp_path / "again", "msrvtt:b16", 0, 60.0)
    _run(tmp_path / "full", "msrvtt:b16", 0, 55.0, videos=2990)
    _run(tmp_path / "on_test", "msrvtt:b16", 0, 70.0, selection="test")
    report.main(
        [*(str(tmp_path / name) for name in ("one", "again", "full", "on_test")), f"--out={tmp_path / 'table'}"]
    )
    out, err = capsys.readouterr()
    assert "again is left out" in err and "60.0" not in out
    tables = (tmp_path / "table.md").read_text().split("\n\n")
    data = f"## msrvtt of {Path('datasets/msrvtt').absolute()}"
    assert tables[0] == f"{data}, 1,000 texts and 1,000 videos" and f"{tables[0][3:]}\n" in out
    assert "| zero-shot CLIP | 30.5 |" in tables[1] and "| one (eaglenet) | 50.0 [51] |" in tables[1]
    assert "| on_test (eaglenet) (chosen on test) | **70.0** [51] |" in tables[1] and "55.0" not in tables[1]
    other = next(place for place, table in enumerate(tables) if "| full (eaglenet) | 55.0 |" in table)
    assert "[" not in tables[other] and tables[other - 1] == f"{data}, 2,990 texts and 2,990 videos"
    page = (tmp_path / "table.html").read_text()
    assert page.count("<table ") == 2 * 3  # a table a direction, and one for both
    assert re.findall("<h2>(.*?)</h2>", page) == [tables[0][3:], tables[other - 1][3:]]


def test_first_stages_of_a_moved_sweep_are_found_and_their_seed_does_not_count(tmp_path) -> None:
    for seed in (0, 1):
        stage = _run(tmp_path / f"old/first_stages/clip_{seed}", "demo:clip4clip", seed, 30.0)
        _run(tmp_path / f"old/row/seed_{seed}", "msrvtt:b16", seed, 40.0 + seed, init_from=stage)
    (tmp_path / "old").rename(tmp_path / "new")
    runs = find_runs([tmp_path / "new"])
    assert [run.parent.name for run in runs] == ["row", "row"]
    found = [(family.label, len(family.results)) for family in families(runs, "test")]
    assert found == [("first stage x (clip4clip)", 2), ("row (eaglenet)", 2)]
    named = [*runs, *(tmp_path / f"new/first_stages/clip_{seed}" for seed in (0, 1))]
    assert (
        next(family.label for family in families(named, "test")) == "row (eaglenet)"
    )  # given as runs, they are no stages


def test_rows_of_one_name_are_told_apart_by_the_folder_above(tmp_path) -> None:
    for folder, steps in (("short/xpool", 3), ("long/xpool", 9), ("long/x/a", 5)):
        _run(tmp_path / folder, "msrvtt:b16,xpool", 0, 40.0, steps=steps)
    labels = [family.label for family in families(find_runs([tmp_path]), "test")]
    assert labels == ["a (xpool)", "long/xpool", "short/xpool"]


def test_a_folder_that_is_not_there_is_answered_with_the_nearest(tmp_path) -> None:
    (tmp_path / "runs/demo").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no folder .*dmo; .*; did you mean '.*runs/demo'\?$"):
        find_runs([tmp_path / "runs/dmo"])
    with pytest.raises(UserError, match=r"there is no work directory .*dmo; .*; did you mean '.*runs/demo'\?$"):
        saved_config(tmp_path / "runs/dmo")
    with pytest.raises(UserError, match=r"demo is no work directory: it has no config.json; train one with[^;]*$"):
        saved_config(tmp_path / "runs/demo")
    with pytest.raises(UserError, match=r"cannot read scores from .*dem: No such file or directory; did you mean"):
        read_scores(tmp_path / "runs/dem")
    assert near_path(tmp_path / "runs/entirely_different") == ""  # whatever the folders above have in common
    (tmp_path / "runs/dmo.txt").touch()
    assert "demo" in near_path(tmp_path / "runs/dmo", folders=True) and "dmo.txt" in near_path(tmp_path / "runs/dmo.tx")
    for odd in ("", ".", "/", "s3://bucket/index", "a" * 300, str(tmp_path / "runs/dmo.txt/x")):
        assert near_path(Path(odd)) == ""


def test_nothing_to_show_is_one_line(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    run = _run(tmp_path / "run", "demo:clip4clip", 0, 30.0)
    for arguments, message in (
        ([str(tmp_path / "none")], "is no folder"),
        ([str(tmp_path / "empty")], "no finished run in"),
        ([str(run), "--split=val"], "no run has results on the split 'val'"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            report.main([*arguments, f"--out={tmp_path / 'table'}"])
        assert "\n" not in str(caught.value)
    (run / "metrics.json").write_text(json.dumps({"test": {}}))
    with pytest.raises(UserError, match="no run has results"):
        report.main([str(run), f"--out={tmp_path / 'table'}"])
