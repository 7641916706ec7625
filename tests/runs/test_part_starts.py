"""What the start-up block says that the parts of a head start from is what they start from."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.part_starts import RANDOM, gathered, leaf_sources, start_rows
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.runs.start_block import start_block
from eaglenet_jax.system import build_system
from tests.port.blip2_folder import write_blip2

SYSTEM = "demo:tiny,crosstvr_xpool"


@pytest.fixture(scope="module")
def shapes():
    system = build_system(load_config(SYSTEM))
    return system.head.transformer, system.shapes()["head"]


def leaves(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in found}


@pytest.mark.parametrize(("width", "random"), [pytest.param(16, set(), marks=pytest.mark.long), (24, {"key", "value"})])
def test_what_is_said_is_what_is_loaded(width, random, shapes, tmp_path, monkeypatch):
    shape, head = shapes
    write_blip2(tmp_path / "blip2", head, shape, width)
    monkeypatch.chdir(tmp_path)  # a relative name, so that both cases have the same system, which is compiled once
    flags = [f"--config.data.root={tmp_path}", "--config.head.blip2=blip2"]
    plan = plan_run(load_config(SYSTEM, flags), tmp_path / "run")
    stage, earlier = plan.stages[-1], plan.stages[-2]
    said = leaf_sources(stage, earlier, "stage 2")
    before = leaves(stage.system.init(jax.random.key(5))["head"])
    started = leaves(initial_parameters(stage.system, "", seed=5)["head"])
    loaded = {path for path in before if not np.array_equal(before[path], started[path])}
    assert {path for path, source in said.items() if "BLIP-2" in source} == loaded
    assert {path for path, source in said.items() if source == "from stage 2"} == {
        path for path in before if path.startswith("first/pooling")
    }
    kept = {path.split("/")[2] for path, source in said.items() if path.startswith("layers") and source == RANDOM}
    assert kept == random
    block = start_block(plan)
    rest = "the rest of layers" if random else "layers"
    assert f"\nstart      stage 3, from BLIP-2 blip2: classifier, embedding_norm, {rest}" in block
    assert ("random: layers/cross_attention_*/key, layers/cross_attention_*/value" in block) == bool(random)
    assert "stage 3, from stage 2: " in block and "selector_down, selector_up, word_projection" in block


def test_a_name_on_the_hub_is_not_asked_for(tmp_path):
    flags = [f"--config.data.root={tmp_path}", "--config.head.blip2=nobody/nothing"]
    block = start_block(plan_run(load_config(SYSTEM, flags), tmp_path / "run"))
    assert "from BLIP-2 nobody/nothing: classifier" in block and "random: layers/cross_attention_*/key" in block


def test_checkpoints_of_the_current_folder_are_not_what_a_stage_starts_from(tmp_path, monkeypatch):
    flags = [f"--config.data.root={tmp_path}", "--config.head.blip2=nobody/nothing"]
    stage = plan_run(load_config(SYSTEM, flags), tmp_path / "run").stages[-1]
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    assert start_rows(dataclasses.replace(stage, source=""), 1, None)[0].startswith("from BLIP-2 nobody/nothing: ")
    assert start_rows(dataclasses.replace(stage, source=str(tmp_path)), 1, None) == []


def test_a_checkpoint_that_does_not_fit_is_found_before_the_first_stage_is_trained(shapes, tmp_path):
    shape, head = shapes
    write_blip2(tmp_path, head, shape, 16)
    for field, message in (("layers=1", "num_hidden_layers is 2, config.head.transformer.layers is 1"),
                           ("width=128", "hidden_size is 64, config.head.transformer.width is 128")):  # fmt: skip
        flags = [f"--config.head.blip2={tmp_path}", f"--config.head.transformer.{field}"]
        with pytest.raises(UserError, match=message):
            plan_run(load_config(SYSTEM, flags), tmp_path / "run")
    flags = [f"--config.head.blip2={tmp_path}", "--config.head.queries=5"]
    with pytest.raises(UserError, match=r"query_tokens has shape \(1, 8, 64\), not \(1, 5, 64\)"):
        plan_run(load_config(SYSTEM, flags), tmp_path / "run")


def test_a_run_whose_head_starts_from_nothing_has_no_such_line(tmp_path):
    plan = plan_run(load_config("demo:tiny", [f"--config.data.root={tmp_path}"]), tmp_path / "run")
    assert "\nstart " not in start_block(plan)


def test_parts_are_gathered():
    sources = {"a/b_0/k": "x", "a/b_1/k": "x", "a/c_1/k": RANDOM, "a/c_1/b": RANDOM, "a/c_2/k": RANDOM, "d": "x"}
    assert gathered(sources) == {"x": ["a/b_*", "d"], RANDOM: ["the rest of a"]}
    assert list(gathered({"z": RANDOM, "y": "x"})) == ["x", RANDOM]
