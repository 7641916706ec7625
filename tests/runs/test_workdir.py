"""Work directories: their checkpoints, their configs of today's and of the old form, and who may claim them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eaglenet_jax.config.loading import as_plain, load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.stage_results import Selection
from eaglenet_jax.runs.length import changed_length
from eaglenet_jax.runs.saved_config import differences, save_config, saved_config
from eaglenet_jax.runs.workdir import claim, exclusive, first_stage_folder, load_checkpoint
from eaglenet_jax.training.checkpoints import Checkpoints
from tests.runs.old_form import config_in_old_form

BEST, LAST = 2, 5


def _saved(workdir: Path, *, average: bool = False, **metadata: Any) -> Path:
    """A work directory with two checkpoints: params are [step], their average [100 + step]."""
    config = load_config("demo:tiny,clip4clip", ["--config.ema_decay=0.9"] if average else [])
    save_config(config, workdir)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        for step in (BEST, LAST):
            state = {"params": {"head": np.full(1, step, np.float32)}, "opt_state": {}}
            if average:
                state["opt_state"] = {"average": {"head": np.full(1, 100 + step, np.float32)}}
            checkpoints.save(step, state, metadata, best=step == BEST)
    return workdir


def _value(params: Any) -> float:
    return float(params["head"][0])


def test_the_moving_average_is_loaded_where_the_run_keeps_one(tmp_path):
    assert _value(load_checkpoint(_saved(tmp_path / "plain")).params) == BEST
    assert _value(load_checkpoint(_saved(tmp_path / "averaged", average=True)).params) == 100 + BEST
    with pytest.raises(UserError, match="the run kept no moving average"):
        load_checkpoint(tmp_path / "plain", config=saved_config(tmp_path / "averaged"))


def test_a_checkpoint_is_found_by_its_work_directory_its_folder_and_its_step(tmp_path):
    run = _saved(tmp_path / "run")
    for source, step, expected in (
        (run, None, BEST),
        (run, LAST, LAST),
        (run / "checkpoints", None, BEST),
        (run / "checkpoints", LAST, LAST),
        (run / f"checkpoints/{LAST}", None, LAST),
        (run / f"checkpoints/{LAST}", LAST, LAST),
    ):
        loaded = load_checkpoint(source, step, saved_config(run))
        assert (loaded.step, _value(loaded.params)) == (expected, expected)
        assert loaded.folder == run / f"checkpoints/{expected}"
    empty = _saved(tmp_path / "empty")
    shutil.rmtree(empty / "checkpoints")
    for source, step, message in (
        (run, 9, "no checkpoint 9 in .*; there are: 2, 5"),
        (run / f"checkpoints/{LAST}", BEST, "are two steps; give one of them"),
        (tmp_path / "none", None, "there is no work directory .*none"),
        (empty, None, "holds no checkpoint; train it, or give another folder"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_checkpoint(source, step)
        assert "\n" not in str(caught.value)


def test_what_chose_a_checkpoint_is_that_of_its_training(tmp_path):
    trained = {"config": {"selection": "test", "seed": 7}, "fps": 3.0, "data_fingerprint": "x"}
    ours = load_checkpoint(_saved(tmp_path / "ours", **trained))
    assert (ours.selection, ours.selection_note) == (Selection.TEST, "")
    assert (ours.seed, ours.fps, ours.data_fingerprint, ours.converted_from) == (7, 3.0, "x", "")
    asked = load_checkpoint(tmp_path / "ours", LAST)
    assert (asked.selection, asked.selection_note) == (Selection.STEP, "step 5 was asked for")
    assert load_checkpoint(tmp_path / "ours", BEST).selection is Selection.TEST
    converted = load_checkpoint(_saved(tmp_path / "converted", converted_from="xpool"))
    assert (converted.selection, converted.selection_note) == (Selection.UNKNOWN, "it was converted from xpool")
    assert (converted.seed, converted.fps, converted.data_fingerprint) == (0, None, None)


def test_a_file_is_no_work_directory(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file/inside"):
        with pytest.raises(UserError, match="is a file or lies in one; give a folder"), exclusive(workdir):
            pass


def test_a_config_of_the_old_form_is_read_with_todays_names(tmp_path):
    config = load_config("demo:tiny,crosstvr_eaglenet", ["--config.optimizer.head_lr=0.125"])
    config.first_stage.first_stage.optimizer.head_lr = 0.25
    save_config(config, tmp_path)
    expected = as_plain(saved_config(tmp_path))
    for options in (expected["head"]["first"]["head"], expected["first_stage"]["head"]):
        assert "initial_logit_scale" in options
    old = config_in_old_form(json.loads((tmp_path / "config.json").read_text()))
    assert set(old["pretrain"]["pretrain"]["optimizer"]) >= {"lr"} and "first_stage" not in old["pretrain"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    found = saved_config(tmp_path)
    assert as_plain(found) == expected
    assert (found.optimizer.head_lr, found.first_stage.first_stage.optimizer.head_lr) == (0.125, 0.25)
    claim(config, tmp_path)  # not another config
    assert "first_stage" in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("normalise", [True, False])
def test_a_shenet_from_before_the_factor_of_attention_computes_as_it_did(normalise, tmp_path):
    config = load_config("demo:tiny,shenet", [f"--config.head.normalise={normalise}"])
    save_config(config, tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    for name in ("normalise_attention", "attention_scale", "learned_attention_scale"):
        del saved["head"][name]
    file.write_text(json.dumps(saved))
    head = saved_config(tmp_path).head
    found = head.normalise_attention, head.attention_scale, head.learned_attention_scale
    assert found == (normalise, 1.0, False)
    save_config(config, tmp_path)
    assert saved_config(tmp_path).head.learned_attention_scale


def test_a_config_that_held_what_a_paper_claims_names_the_row_of_it(tmp_path):
    config = load_config("msrvtt:b32,xpool")
    save_config(config, tmp_path)
    old = config_in_old_form(json.loads((tmp_path / "config.json").read_text()))
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert saved_config(tmp_path).claim == config.claim == "msrvtt/b32/xpool"
    (tmp_path / "config.json").write_text(json.dumps({**old, "claimed": {}}))  # as a row of an ablation
    assert saved_config(tmp_path).claim == ""


def test_the_folder_of_a_first_stage_is_found_by_either_name(tmp_path):
    assert first_stage_folder(tmp_path) == tmp_path / "first_stage"
    (tmp_path / "pretrain").mkdir()
    assert first_stage_folder(tmp_path) == tmp_path / "pretrain"
    (tmp_path / "first_stage").mkdir()
    assert first_stage_folder(tmp_path) == tmp_path / "first_stage"


def test_a_work_directory_belongs_to_one_config_and_one_process(tmp_path):
    config = load_config("demo:tiny,clip4clip")
    claim(config, tmp_path)
    claim(load_config("demo:tiny,clip4clip", ["--config.data.workers=3"]), tmp_path)
    assert saved_config(tmp_path).data.workers == 3  # changes nothing that is computed
    with pytest.raises(UserError, match=r"another config \(batch_size: \d+ there, 3 now\)"):
        claim(load_config("demo:tiny,clip4clip", ["--config.batch_size=3"]), tmp_path)
    with exclusive(tmp_path), pytest.raises(UserError, match="another process is training"), exclusive(tmp_path):
        pass


def test_differences_name_the_fields_that_change_what_is_computed():
    old = {"a": {"b": 1, "c": [1]}, "seed": 0, "profile": "", "first_stage": {"data": {"workers": 1}}}
    new = {"a": {"b": 2, "c": [1]}, "seed": 0, "profile": "x", "first_stage": {"data": {"workers": 2}}, "d": 4}
    assert differences(old, new) == ["a.b: 1 there, 2 now", "d: None there, 4 now"]


def test_the_length_of_a_run_changes_although_its_newest_checkpoint_is_damaged(tmp_path):
    config = load_config("demo:tiny,clip4clip", ["--config.steps=9", "--config.early_stop=1"])
    workdir = _saved(tmp_path, best={"step": BEST, "recall": 50.0}, seconds=1.0)
    plan = SimpleNamespace(config=config, folder=workdir, steps=9, evaluate_every=3, per_pass=3)
    with pytest.raises(UserError, match="ended early at step 5"):
        changed_length(plan, saved_config(workdir))
    (workdir / f"checkpoints/{LAST}/metadata/metadata").write_text("{")
    assert changed_length(plan, saved_config(workdir)).startswith("step 5 of 6 before, 9 now")
