"""A training step that is kept on the disk is the traced one, and no other code, config or shape takes it."""

from __future__ import annotations

import dataclasses
import os
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs import code_digest, kept_step
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.training.state import TrainState
from eaglenet_jax.training.step import initial_state, make_train_step
from tests.training import tiny

SYSTEM, OPTIMIZER = tiny.system("clip4clip"), optax.adam(1e-2)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def step():
    return make_train_step(SYSTEM, OPTIMIZER)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, SYSTEM.init(jax.random.key(0)))


@pytest.fixture
def state(params) -> TrainState:
    """A state of its own for each call, since a step takes its memory."""
    return initial_state(SYSTEM, OPTIMIZER, jax.tree.map(jnp.array, params))


@pytest.fixture
def traces(monkeypatch) -> list[object]:
    """The steps that were traced to be kept."""
    found: list[object] = []
    export = jax.export.export
    monkeypatch.setattr(jax.export, "export", lambda *given: found.append(given) or export(*given))
    return found


def _ready(step, file, state, batch):
    return kept_step.ready_step(step, file, kept_step.read_ahead(file), state, batch, KEY)


def _trained(step, state, batches):
    for batch in batches:
        state, metrics = step(state, batch, KEY)
    return jax.tree.map(np.asarray, (state, metrics))


def test_the_kept_step_gives_the_numbers_of_the_traced_one(tmp_path, step, params, traces):
    file, batches = tmp_path / "traced" / "step", [tiny.batch(4, seed) for seed in range(3)]

    def start():
        return initial_state(SYSTEM, OPTIMIZER, jax.tree.map(jnp.array, params))

    expected = _trained(step, start(), batches)
    flops = []
    for number in range(2):
        ready = _ready(step, file, state := start(), batches[0])
        found = _trained(ready.step, state, batches)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7), found, expected)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params)), "the memory of the old state is used"
        assert len(traces) == 1, f"start {number + 1} traced it"
        flops.append(ready.flops)
    assert flops[0] == flops[1] > 1e4


def test_another_batch_is_left_to_the_step_itself(tmp_path, step, state, traces):
    ready = _ready(step, tmp_path / "step", state, tiny.batch(4))
    _, metrics = ready.step(state, tiny.batch(6), KEY)
    assert np.isfinite(metrics["loss"]) and len(traces) == 1


def test_other_shapes_and_damaged_files_are_traced_again(tmp_path, step, state, traces):
    file = tmp_path / "step"
    for number, batch in enumerate([tiny.batch(4), tiny.batch(6), tiny.batch(6)]):
        _ready(step, file, state, batch)
        assert len(traces) == [1, 2, 2][number]
    whole = file.read_bytes()
    for content in (b"", whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1]), b"no step\n"):
        file.write_bytes(content)
        before = len(traces)
        _ready(step, file, state, tiny.batch(6))
        assert len(traces) == before + 1 and file.read_bytes()[16:40] == whole[16:40]


def test_a_step_that_calls_python_is_not_kept(tmp_path, state):
    calls: list[int] = []

    def step(state, batch, key):
        jax.debug.callback(lambda: calls.append(1))
        return state.replace(step=state.step + 1), {"loss": jnp.zeros(())}

    ready = _ready(jax.jit(step), tmp_path / "step", state, tiny.batch(4))
    jax.block_until_ready(ready.step(state, tiny.batch(4), KEY))
    jax.effects_barrier()
    assert calls and not (tmp_path / "step").exists()


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path, step, state, monkeypatch):
    def full(path, content):
        raise UserError("cannot write: no space left on device")

    monkeypatch.setattr(kept_step, "write_atomically", full)
    ready = _ready(step, tmp_path / "step", state, tiny.batch(4))
    assert np.isfinite(ready.step(state, tiny.batch(4), KEY)[1]["loss"]) and not (tmp_path / "step").exists()


def test_what_was_not_used_for_longest_is_removed(tmp_path, step, state, monkeypatch):
    monkeypatch.setattr(kept_step, "MOST_FILES", 3)
    for number in range(4):
        write_atomically(tmp_path / f"old_{number}", b"")
        os.utime(tmp_path / f"old_{number}", (number, number))
    _ready(step, tmp_path / "step", state, tiny.batch(4))
    assert {path.name for path in tmp_path.iterdir()} == {"old_2", "old_3", "step"}
    os.utime(tmp_path / "step", (1, 1))
    _ready(step, tmp_path / "step", state, tiny.batch(4))  # is read, which is a use
    _ready(step, tmp_path / "another", state, tiny.batch(4))
    assert {path.name for path in tmp_path.iterdir()} == {"old_3", "step", "another"}


@pytest.fixture
def plan(tmp_path):
    return plan_run(load_config("demo:tiny,clip4clip", [f"--config.data.root={tmp_path}"]), tmp_path / "run").stages[-1]


def test_every_change_has_a_file_of_its_own(command, plan, monkeypatch):
    file = kept_step.step_file(plan)
    assert file is not None and file.parent == command and kept_step.step_file(plan) == file
    longer = dataclasses.replace(plan, steps=plan.steps + 1)
    other = load_config("demo:tiny,clip4clip", ["--config.optimizer.head_lr=3e-3"])
    files = [file, kept_step.step_file(longer), kept_step.step_file(dataclasses.replace(plan, config=other))]
    with jax.enable_x64(True):
        files.append(kept_step.step_file(plan))
    with monkeypatch.context() as patch:
        patch.setattr(code_digest.importlib.metadata, "version", lambda name: "another")
        files.append(kept_step.step_file(plan))
    assert None not in files and len(set(files)) == 5


def test_changed_code_has_a_file_of_its_own(command, plan, tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.py").write_text("a = 1")
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    files = [kept_step.step_file(plan)]
    (package / "one.py").write_text("a = 2")
    files.append(kept_step.step_file(plan))
    (tmp_path / "config.py").write_text("")  # a module of the user
    module = types.ModuleType("a_config_of_the_user")
    module.__file__ = str(tmp_path / "config.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    files.append(kept_step.step_file(plan))
    (tmp_path / "config.py").write_text("b = 1")
    files.append(kept_step.step_file(plan))
    assert None not in files and len(set(files)) == 4


def test_this_package_is_read_and_installed_ones_are_not(command):
    sources = code_digest._loaded_sources()
    assert Path(__file__) in sources
    assert not [path for path in sources if "site-packages" in path.parts]
    assert (code_digest.PACKAGE / "heads/eaglenet.py").is_file()


def test_what_is_not_kept(command, plan, monkeypatch):
    shown = load_config("demo:tiny,clip4clip", ["--config.profile=3:5"])
    assert kept_step.step_file(dataclasses.replace(plan, config=shown)) is None
    with monkeypatch.context() as patch:
        patch.setattr(type(plan.system.head), "__module__", "a_module_of_the_user")
        assert kept_step.step_file(plan) is None
    with jax.debug_nans(True):
        assert kept_step.step_file(plan) is None
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules["__main__"], "__file__")  # a notebook
        assert kept_step.step_file(plan) is None
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 2)
        assert kept_step.step_file(plan) is None
    assert kept_step.step_file(plan) is not None
    monkeypatch.setattr(kept_step, "traced_folder", lambda: None)
    assert kept_step.step_file(plan) is None
    assert kept_step.read_ahead(None) is None
