"""What the devices of a training step send to each other, by the compiled program."""

from __future__ import annotations

from typing import Any

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.compiled_program import Program
from eaglenet_jax.training import sharding
from eaglenet_jax.training.sharding import DATA_AXIS, make_mesh, state_shardings
from eaglenet_jax.training.step import initial_state, keep_placement, make_train_step
from tests.training import tiny
from tests.training.eight_devices import needs_eight_devices

BATCH = 16
MOST_GATHERS, MOST_REDUCTIONS = 15, 5  # prepared videos and ids; gradients, sums of losses
VIDEOS = BATCH * tiny.FRAMES * tiny.WIDTH * 4  # bytes


def compiled(cut: str) -> tuple[Any, Any, Any]:
    """Compile the step of EagleNet on all devices → the program, the state's shapes and its placement."""
    system, optimizer, mesh = tiny.system("eaglenet"), optax.adam(1e-3), make_mesh()
    params = system.shapes()
    state = jax.eval_shape(lambda params: initial_state(system, optimizer, params), params)

    def placed(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    rows = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    batch = {name: placed(leaf, rows) for name, leaf in tiny.batch(BATCH).items()}
    shardings = state_shardings(state, mesh, cut)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = keep_placement(make_train_step(system, optimizer, mesh=mesh), mesh, cut)
    return step.lower(jax.tree.map(placed, state, shardings), batch, key).compile(), state, shardings


@needs_eight_devices
def test_devices_exchange_videos_and_gradients_and_nothing_of_pairs() -> None:
    program, state, _ = compiled("replicated")
    found = Program(program.as_text()).collectives(unknown_trips=1)
    assert set(found) == {"all-gather", "all-reduce"}
    assert len(found["all-gather"]) <= MOST_GATHERS and len(found["all-reduce"]) <= MOST_REDUCTIONS
    assert all(cost.times == 1 for costs in found.values() for cost in costs), "a loop would send again in every turn"
    assert max(cost.written for cost in found["all-gather"]) <= VIDEOS < BATCH * BATCH * tiny.WIDTH * 4
    gradients = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.params))
    # Every gradient once, and those of the seven arrays that are prepared of the videos.
    assert gradients <= sum(cost.read for cost in found["all-reduce"]) <= gradients + 11 * VIDEOS


@needs_eight_devices
def test_cut_parameters_are_gathered_once_and_activations_stay_where_their_clips_are(monkeypatch) -> None:
    monkeypatch.setattr(sharding, "SMALLEST_SHARDED", 64)  # a tiny system has no large tensors
    program, state, shardings = compiled("fsdp")
    found = Program(program.as_text()).collectives(unknown_trips=1)
    assert "all-to-all" not in found, "activations are cut along another axis"
    cut = [
        leaf.size * 4
        for leaf, where in zip(jax.tree.leaves(state.params), jax.tree.leaves(shardings.params), strict=True)
        if not where.is_fully_replicated
    ]
    gathered = sum(cost.written for cost in found["all-gather"])
    assert sum(cut) <= gathered <= sum(cut) + MOST_GATHERS * VIDEOS
    # What a step returns lies as what it was given, or the second step would be compiled again, for whole parameters.
    assert jax.tree.leaves(program.output_shardings[0]) == jax.tree.leaves(shardings)
