"""The models that come with the package are what their cards and configs say."""

from __future__ import annotations

import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.export import SHIPPED, exported_folder
from eaglenet_jax.runs.model_formats import read_model
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
