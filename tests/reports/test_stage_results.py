"""What a run prints of its results, and what it keeps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.metrics.ranks import chance_metrics
from eaglenet_jax.reports.stage_results import Selection, StageResult, print_results
from eaglenet_jax.runs.workdir import read_result, write_result

RESULT = StageResult(
    name="msrvtt",
    system="eaglenet",
    workdir="runs/msrvtt",
    metrics={"test": chance_metrics((8, 8))},
    gallery={"test": [8, 8]},
    best_step=3,
    selection=Selection.TEST,
    preset="released",
    config_hash="0",
    seconds=5.0,
    missing={"test": [3, 2]},
)


def test_lost_videos_and_the_split_that_chose_are_said(capsys) -> None:
    print_results([RESULT], "test")
    printed = capsys.readouterr().out
    assert "best checkpoint chosen on the test split itself" in printed
    assert "3 more captions and 2 more videos are lost; as queries they count as misses" in printed
    print_results([dataclasses.replace(RESULT, missing={})], "test")
    assert "lost" not in capsys.readouterr().out


def test_what_chose_a_checkpoint_is_said_only_where_it_is_known(capsys) -> None:
    for selection, note, said in (
        (Selection.VALIDATION, "", "percent; best checkpoint chosen on validation\n"),
        (Selection.UNKNOWN, "it was converted from xpool", "; what chose the checkpoint is unknown: it was converted"),
        (Selection.STEP, "step 3 was asked for", "; no split chose the checkpoint: step 3 was asked for\n"),
    ):
        print_results([dataclasses.replace(RESULT, selection=selection, selection_note=note)], "test")
        assert said in capsys.readouterr().out


def test_galleries_with_several_captions_a_video_and_data_without_a_test_split(capsys) -> None:
    several = dataclasses.replace(RESULT, gallery={"test": [20, 8]}, chance={"test": chance_metrics((8, 8))})
    print_results([several], "test")
    assert "20 texts, 8 videos" in capsys.readouterr().out
    no_test = dataclasses.replace(RESULT, metrics={"val": chance_metrics((8, 8))}, gallery={"val": [8, 8]})
    print_results([no_test], "test")
    assert "val split: 8 texts" in capsys.readouterr().out


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    write_result(RESULT, tmp_path)
    assert read_result(tmp_path) == dataclasses.replace(RESULT, workdir=str(tmp_path))
    assert json.loads((tmp_path / "metrics.json").read_text())["run"]["selection"] == "test"


@pytest.mark.parametrize(
    ("saved", "selection", "note"),
    [
        ("validation", Selection.VALIDATION, ""),
        ("unknown: it was converted from eaglenet", Selection.UNKNOWN, "it was converted from eaglenet"),
        ("nothing: its step was asked for", Selection.STEP, "its step was asked for"),
        ("by hand", Selection.UNKNOWN, "by hand"),
    ],
)
def test_a_result_with_a_sentence_for_a_selection_is_read(tmp_path: Path, saved, selection, note) -> None:
    write_result(RESULT, tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    del content["run"]["selection_note"]  # as it was before there was one
    content["run"]["selection"] = saved
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    found = read_result(tmp_path)
    assert found is not None and found.selection is selection and found.selection_note == note


def test_lost_videos_are_read_from_the_manifest(tmp_path: Path) -> None:
    dataset = PreparedDataset(tmp_path, {"left_out": {"test": {"videos": 2, "captions": 40}}})
    assert dataset.left_out("test") == (40, 2)
    assert dataset.left_out("test", "first") == (2, 2)
    assert dataset.left_out("val") == PreparedDataset(tmp_path, {}).left_out("test") == (0, 0)
