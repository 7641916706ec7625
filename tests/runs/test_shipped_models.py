"""The models that come with the package are what their cards and configs say."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.export import SHIPPED, exported_folder, write_export
from eaglenet_jax.runs.model_formats import model_settings, read_model
from eaglenet_jax.system import build_system

TRAINED_BY = {"moving_shapes_clip": "pretraining/moving_shapes_clip", "demo": "demo"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_what_its_config_trains(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, config = read_model(name), load_config(TRAINED_BY[name])  # reading compares all shapes
    assert model.source == name
    assert build_system(model.settings) == build_system(config)  # options that it lacks have their defaults
    assert model.settings["fps"] == config.data.fps
    assert f"Fingerprint `{model.identity}`" in (SHIPPED[name] / "README.md").read_text()


def test_they_are_small():
    assert sum(file.stat().st_size for folder in SHIPPED.values() for file in folder.iterdir()) < 8e6


def test_a_folder_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exported_folder("demo") == SHIPPED["demo"]
    (tmp_path / "demo").mkdir()
    assert exported_folder("demo") is None
    with pytest.raises(UserError, match="holds no model"):
        read_model("demo")


@pytest.mark.parametrize("system", ["shenet", "crosstvr"])  # by itself, and as the head inside another
def test_a_shenet_exported_before_the_factor_of_attention_is_opened_as_it_was(system, tmp_path):
    settings = model_settings(load_config("demo:tiny,shenet"))
    old = settings["head"]
    for name in ("normalise_attention", "attention_scale", "learned_attention_scale"):
        del old[name]
    if system == "crosstvr":
        settings = model_settings(load_config("demo:tiny,crosstvr"))
        settings["head"]["first"] = {"system": "shenet", "head": old}
    as_it_was = {**old, "attention_scale": 1.0, "learned_attention_scale": False}
    head = (
        {**settings["head"], "first": {"system": "shenet", "head": as_it_was}}
        if "first" in settings["head"]
        else as_it_was
    )
    was = build_system({**settings, "head": head})
    shapes = jax.eval_shape(was.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    write_export(tmp_path, settings, params, "", "float32", None)
    assert build_system(read_model(tmp_path).settings) == was
