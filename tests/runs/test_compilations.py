"""What is compiled, and how often: of evaluations between steps, and of the start of a run from a trained CLIP."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax import system as systems
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.runs.evaluate_split import evaluate_split
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.system import build_system
from tests.data.prepared import write_prepared

COMPILING = "/jax/core/compile/"  # tracing, lowering and compiling
EVENTS: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _listener():
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **about: EVENTS.append(f"{name} {about.get('fun_name')}")
    )


# Of ts2net the features are reduced on the way, by a program of its own.
@pytest.mark.parametrize(
    "name", ["clip4clip", *(pytest.param(name, marks=pytest.mark.long) for name in ("ts2net", "eaglenet"))]
)
def test_a_second_evaluation_compiles_and_traces_nothing(name, tmp_path):
    folder = write_prepared(tmp_path / "prepared")
    fields = (f"data.prepared={folder}", "selection=test", "clip.image_size=16", "clip.patch_size=4")
    experiment = open_experiment(load_config(f"demo:tiny,{name}", [f"--config.{field}" for field in fields]))
    first = experiment.system.init(jax.random.key(0))
    later = jax.tree.map(lambda leaf: jnp.asarray(1.01 * np.asarray(leaf)), first)  # as after some steps
    scores = []
    for params in (first, later):
        EVENTS.clear()
        scores.append(evaluate_split(experiment, params, "test").scores)
        compiled = [event for event in EVENTS if event.startswith(COMPILING)]
        assert bool(compiled) == (params is first), compiled
    assert not np.array_equal(*scores)


def test_a_run_from_a_trained_clip_draws_its_head_alone(monkeypatch):
    system = build_system(load_config("demo:xpool"))
    shapes = system.shapes()
    keys = []
    monkeypatch.setattr(systems, "_init_clip", lambda _, key: keys.append(key) or shapes["clip"])
    monkeypatch.setattr(systems, "_init_head", lambda _, key: {"drawn": key})
    monkeypatch.setattr(type(system.head), "start_from_clip", lambda self, params, *_: params)
    found = initial_parameters(system, "moving_shapes_clip", 3)
    assert found["head"]["drawn"] == jax.random.key(3)
    assert not keys
    assert jax.tree.map(jnp.shape, found["clip"]) == jax.tree.map(lambda leaf: leaf.shape, shapes["clip"])


@pytest.mark.parametrize("name", ["eaglenet", "shenet", "crosstvr"])  # frames; words and patches; a first stage too
def test_shapes_of_features_are_those_of_the_encoders(name):
    system = build_system(load_config(f"demo:tiny,{name}"))
    size = system.clip.config.image_size
    batch = {
        "text_id": jax.ShapeDtypeStruct((2,), jnp.uint32),
        "tokens": jax.ShapeDtypeStruct((2, system.max_words), jnp.int32),
        "video_id": jax.ShapeDtypeStruct((2,), jnp.uint32),
        "frames": jax.ShapeDtypeStruct((2, system.max_frames, size, size, 3), jnp.uint8),
        "frame_mask": jax.ShapeDtypeStruct((2, system.max_frames), jnp.bool_),
        "text_extra": system.head.text_extra(2),
        "video_extra": system.head.video_extra(2),
    }
    params = system.shapes()
    encoded = jax.eval_shape(system.encode, params, batch)
    assert jax.tree.structure(encoded) == jax.tree.structure(system.feature_shapes(2))
    for one, other in zip(jax.tree.leaves(encoded), jax.tree.leaves(system.feature_shapes(2)), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
