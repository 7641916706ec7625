"""A training step that is kept on the disk is the traced one, and no other code, config or shape takes it."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
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
from tests.heads.heads import HEADS
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
def start(params) -> Callable[[], TrainState]:
    """Gives a new state at each call, since a step takes its memory."""
    return lambda: initial_state(SYSTEM, OPTIMIZER, jax.tree.map(jnp.array, params))


@pytest.fixture
def traces(monkeypatch) -> list[object]:
    """The steps that were traced to be kept."""
    found: list[object] = []
    export = jax.export.export
    monkeypatch.setattr(jax.export, "export", lambda *given: found.append(given) or export(*given))
    return found


def _ready(step, file, state, batch):
    return kept_step.ready_step(step, file, kept_step.read_ahead(file), state, batch, KEY)


def _first_step(step, file, state, batch):
    """The metrics of a first step, after which the step is kept."""
    return _ready(step, file, state, batch).step(state, batch, KEY)[1]


def _trained(step, state, batches):
    for batch in batches:
        state, metrics = step(state, batch, KEY)
    return jax.tree.map(np.asarray, (state, metrics))


def test_the_kept_step_gives_the_numbers_of_the_traced_one(tmp_path, step, start, traces):
    file, batches = tmp_path / "traced" / "step", [tiny.batch(4, seed) for seed in range(3)]
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


def test_another_batch_is_left_to_the_step_itself(tmp_path, step, start, traces):
    ready = _ready(step, tmp_path / "step", start(), tiny.batch(4))
    _, metrics = ready.step(start(), tiny.batch(6), KEY)
    assert np.isfinite(metrics["loss"]) and len(traces) == 1


def test_a_step_is_kept_when_it_is_compiled(tmp_path, step, start):
    """Else the next start would compile it in a thread, which no signal ends."""
    ready = _ready(step, tmp_path / "step", start(), tiny.batch(4))
    assert not (tmp_path / "step").exists()
    ready.step(start(), tiny.batch(4), KEY)
    assert (tmp_path / "step").exists()


def test_other_shapes_and_damaged_files_are_traced_again(tmp_path, step, start, traces):
    file = tmp_path / "step"
    for number, batch in enumerate([tiny.batch(4), tiny.batch(6), tiny.batch(6)]):
        _first_step(step, file, start(), batch)
        assert len(traces) == [1, 2, 2][number]
    whole = file.read_bytes()
    for content in (b"", whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1]), b"no step\n"):
        file.write_bytes(content)
        before = len(traces)
        _first_step(step, file, start(), tiny.batch(6))
        assert len(traces) == before + 1 and file.read_bytes()[16:40] == whole[16:40]


def test_a_file_whose_time_cannot_be_set_is_read(tmp_path, step, start, traces, monkeypatch):
    file, calls = tmp_path / "step", []
    _first_step(step, file, start(), tiny.batch(4))

    def refused(*of):
        calls.append(of)
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    _first_step(step, file, start(), tiny.batch(4))
    assert len(traces) == len(calls) == 1


def test_a_step_that_calls_python_is_not_kept(tmp_path, start):
    calls: list[int] = []

    def step(state, batch, key):
        jax.debug.callback(lambda: calls.append(1))
        return state.replace(step=state.step + 1), {"loss": jnp.zeros(())}

    _first_step(jax.jit(step), tmp_path / "step", start(), tiny.batch(4))
    jax.effects_barrier()
    assert calls and not (tmp_path / "step").exists()


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path, step, start, monkeypatch):
    def full(path, content):
        raise UserError("cannot write: no space left on device")

    monkeypatch.setattr(kept_step, "write_atomically", full)
    metrics = _first_step(step, tmp_path / "step", start(), tiny.batch(4))
    assert np.isfinite(metrics["loss"]) and not (tmp_path / "step").exists()


def test_what_was_not_used_for_longest_is_removed(tmp_path, step, start, monkeypatch):
    monkeypatch.setattr(kept_step, "MOST_FILES", 3)
    for number in range(4):
        write_atomically(tmp_path / f"old_{number}", b"")
        os.utime(tmp_path / f"old_{number}", (number, number))
    _first_step(step, tmp_path / "step", start(), tiny.batch(4))
    assert {path.name for path in tmp_path.iterdir()} == {"old_2", "old_3", "step"}
    os.utime(tmp_path / "step", (1, 1))
    _first_step(step, tmp_path / "step", start(), tiny.batch(4))  # is read, which is a use
    _first_step(step, tmp_path / "another", start(), tiny.batch(4))
    assert {path.name for path in tmp_path.iterdir()} == {"old_3", "step", "another"}


@pytest.fixture
def plan(tmp_path):
    return plan_run(load_config("demo:tiny,clip4clip", [f"--config.data.root={tmp_path}"]), tmp_path / "run").stages[-1]


def test_every_change_has_a_file_of_its_own(command, plan, monkeypatch):
    file = kept_step.step_file(plan)
    assert file is not None and file.parent == command and kept_step.step_file(plan) == file
    rate = load_config("demo:tiny,clip4clip", ["--config.optimizer.head_lr=3e-3"])
    files = [file]
    for other in (dataclasses.replace(plan, steps=plan.steps + 1), dataclasses.replace(plan, config=rate)):
        files.append(kept_step.step_file(other))
    with jax.enable_x64(True):
        files.append(kept_step.step_file(plan))
    device = types.SimpleNamespace(platform="cpu", device_kind="another")
    for patched in (
        (code_digest.importlib.metadata, "version", lambda name: "another"),
        (sys, "version", "another"),
        (jax, "devices", lambda: [device]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(*patched)
            files.append(kept_step.step_file(plan))
    assert None not in files and len(set(files)) == 7


def test_another_seed_or_first_stage_has_the_same_step(command, plan):
    fields = ["seed=5", "data.root=elsewhere", "first_stage.steps=4"]
    other = load_config("demo:tiny,clip4clip", [f"--config.{field}" for field in fields])
    assert kept_step.step_file(dataclasses.replace(plan, config=other)) == kept_step.step_file(plan)


@pytest.fixture
def module(tmp_path, monkeypatch) -> Path:
    """The file of a module of the user, which is loaded."""
    file = tmp_path / "config.py"
    file.write_text("")
    loaded = types.ModuleType("a_config_of_the_user")
    loaded.__file__ = str(file)
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
    return file


def test_changed_code_has_a_file_of_its_own(command, plan, module, tmp_path, monkeypatch):
    monkeypatch.setattr(code_digest, "STARTED", math.inf)  # as if each change were another start
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    files = []
    for changed in (package / "one.py", module):
        for text in ("a = 1", "a = 2"):
            changed.write_text(text)
            files.append(kept_step.step_file(plan))
    assert None not in files and len(set(files)) == 4


def test_code_that_changed_since_the_start_is_not_known(command, plan, module):
    """It may have been loaded before, and what is traced now would be kept as that of the new code."""
    assert kept_step.step_file(plan) is None
    os.utime(module, (1, 1))  # an older time of change does not help: it was written now
    assert kept_step.step_file(plan) is None


def test_this_package_is_read_and_installed_ones_and_the_renderer_are_not(command):
    import data_prep.pack  # as in the start that renders the data, and in no other

    sources = code_digest._loaded_sources()
    assert Path(__file__) in sources and Path(data_prep.pack.__file__) not in sources
    assert not [path for path in sources if "site-packages" in path.parts]
    assert (code_digest.PACKAGE / "heads/eaglenet.py").is_file()


@pytest.mark.parametrize("switch", [jax.debug_nans, jax.debug_infs, jax.disable_jit])
def test_code_that_is_debugged_is_traced_anew(command, plan, switch):
    with switch(True):
        assert kept_step.step_file(plan) is None


@pytest.mark.parametrize("patched", ["device_count", "default_backend"])
def test_it_is_kept_for_one_cpu(command, plan, monkeypatch, patched):
    monkeypatch.setattr(jax, patched, {"device_count": lambda: 2, "default_backend": lambda: "gpu"}[patched])
    assert kept_step.step_file(plan) is None


def test_a_head_of_the_user_is_not_kept(command, plan, monkeypatch):
    head = HEADS["crosstvr"]
    assert isinstance(head.first, nn.Module)
    for part, kept in ((head, True), (head.first, False), (head, False)):
        with monkeypatch.context() as patch:
            if not kept:
                patch.setattr(type(part), "__module__", "a_module_of_the_user")
            system = dataclasses.replace(plan.system, head=head)
            found = kept_step.step_file(dataclasses.replace(plan, system=system))
            assert (found is not None) == kept


def test_what_is_not_kept(command, plan, monkeypatch):
    shown = load_config("demo:tiny,clip4clip", ["--config.profile=3:5"])
    assert kept_step.step_file(dataclasses.replace(plan, config=shown)) is None
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules["__main__"], "__file__")  # a notebook
        assert kept_step.step_file(plan) is None
    assert kept_step.step_file(plan) is not None
    monkeypatch.setattr(kept_step, "traced_folder", lambda: None)
    assert kept_step.step_file(plan) is None
    assert kept_step.read_ahead(None) is None
