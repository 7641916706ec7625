from __future__ import annotations

import re
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from eaglenet_jax.errors import UserError
from eaglenet_jax.training import sharding
from eaglenet_jax.training.sharding import (
    Devices,
    initialize_distributed,
    make_mesh,
    place_state,
    shard_batch,
    state_shardings,
)
from eaglenet_jax.training.state import TrainState
from tests.training.eight_devices import needs_eight_devices


def _state() -> TrainState:
    params = {"wide": jnp.arange(16 * 512.0).reshape(16, 512), "odd": jnp.ones((129, 65)), "bias": jnp.ones(8)}
    return TrainState(jnp.asarray(0), params, optax.adam(0.1).init(params), {"buffer": jnp.ones((512, 16))})


def test_mesh_has_one_automatic_axis_over_all_devices() -> None:
    mesh = make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.size == jax.device_count()
    assert mesh.axis_types == (AxisType.Auto,)


def test_unknown_parameter_sharding_is_refused() -> None:
    with pytest.raises(UserError, match=r"config.sharding.params='zero' is none of replicated, fsdp"):
        state_shardings(_state(), make_mesh(), "zero")


def test_one_program_steps_a_state_of_which_a_part_was_restored() -> None:
    """What a checkpoint gives is committed to a device, what was drawn is not, and what a step returns is all of it."""
    restored = jax.device_put(np.ones(3, np.float32), jax.devices()[0])
    mixed = TrainState(jnp.asarray(0), {"clip": restored, "head": jnp.ones(3)}, (), ())

    @jax.jit
    def one_more(state):
        return jax.tree.map(lambda leaf: leaf + 1, state)

    stepped = one_more(one_more(Devices(mesh=None).place(mixed)))
    assert one_more._cache_size() == 1 and stepped.step == 2


@needs_eight_devices
def test_batch_is_spread_in_order_on_eight_devices() -> None:
    batch = {"tokens": np.arange(32).reshape(16, 2), "frame_mask": np.ones((16, 3), bool)}
    placed = shard_batch(batch, make_mesh())
    np.testing.assert_array_equal(placed["tokens"], batch["tokens"])
    assert [shard.data.shape for shard in placed["tokens"].addressable_shards] == [(2, 2)] * 8
    np.testing.assert_array_equal(placed["tokens"].addressable_shards[3].data, batch["tokens"][6:8])
    with pytest.raises(UserError, match="12 examples does not divide over 8 devices"):
        shard_batch({"tokens": np.ones((12, 2))}, make_mesh())


@needs_eight_devices
def test_fsdp_cuts_large_tensors_and_their_moments_only() -> None:
    state, mesh = _state(), make_mesh()
    shardings = state_shardings(jax.eval_shape(lambda: state), mesh, "fsdp")
    cut = PartitionSpec(None, "data")
    assert shardings.params["wide"].spec == cut
    assert shardings.opt_state[0].mu["wide"].spec == shardings.opt_state[0].nu["wide"].spec == cut
    for whole in (shardings.step, shardings.params["odd"], shardings.params["bias"], shardings.head_state["buffer"]):
        assert whole.is_fully_replicated
    assert all(where.is_fully_replicated for where in jax.tree.leaves(state_shardings(state, mesh)))
    placed = place_state(state, shardings)
    jax.tree.map(np.testing.assert_array_equal, placed, state)
    assert placed.params["wide"].addressable_shards[0].data.shape == (16, 64)


@needs_eight_devices
def test_one_step_is_the_same_on_one_and_on_eight_devices() -> None:
    optimizer = optax.adam(0.1)
    x = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)

    def step(state: TrainState, x: jax.Array) -> TrainState:
        gradients = jax.grad(lambda params: jnp.mean(jnp.sin(x @ params["wide"]) ** 2) + jnp.sum(params["odd"] ** 2))
        updates, opt_state = optimizer.update(gradients(state.params), state.opt_state)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state, state.head_state)

    expected = jax.jit(step)(_state(), x)
    mesh = make_mesh()
    for params in ("replicated", "fsdp"):
        shardings = state_shardings(_state(), mesh, params)
        stepped = jax.jit(step, out_shardings=shardings)(place_state(_state(), shardings), shard_batch(x, mesh))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), stepped, expected)


def test_nothing_is_initialised_unless_asked() -> None:
    initialize_distributed({"cluster": "none"})
    with pytest.raises(UserError, match="cluster='mpi' is none of none, auto, explicit"):
        initialize_distributed({"cluster": "mpi"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"cluster": "auto"}', "could not join the other processes by the environment: .*; start it with srun"),
        (
            '{"cluster": "explicit", "coordinator": "here", "processes": 2, "process": 5}',
            "could not join the other processes by 'here' as process 5 of 2: .*; give the HOST:PORT",
        ),
    ],
)
def test_processes_that_cannot_be_joined_are_a_users_error(config: str, message: str) -> None:
    code = (
        "from eaglenet_jax.errors import UserError\n"
        "from eaglenet_jax.training.sharding import initialize_distributed\n"
        f"try: initialize_distributed({config})\n"
        "except UserError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert re.search(message, run.stdout), run.stderr
    assert run.stdout.count("\n") == 1


def test_an_error_without_a_message_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def initialize() -> None:
        raise RuntimeError

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match="by the environment: RuntimeError; start it with srun"):
        initialize_distributed({"cluster": "auto"})


def test_a_coordinator_that_never_listens_is_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding._wait_for, "__defaults__", (0.3,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        config = {"cluster": "explicit", "coordinator": address, "processes": 2, "process": 1}
        with pytest.raises(UserError, match=r"as process 1 of 2: .*refused"):
            initialize_distributed(config)
