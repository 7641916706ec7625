"""What the devices of a training step send to each other, by the compiled program."""

from __future__ import annotations

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.compiled_program import Program
from eaglenet_jax.training.sharding import DATA_AXIS, make_mesh, state_shardings
from eaglenet_jax.training.step import initial_state, make_train_step
from tests.training import tiny
from tests.training.eight_devices import needs_eight_devices

BATCH = 16
MOST_GATHERS, MOST_REDUCTIONS = 15, 5  # prepared videos and ids; gradients, sums of losses


@needs_eight_devices
def test_devices_exchange_videos_and_gradients_and_nothing_of_pairs() -> None:
    system, optimizer, mesh = tiny.system("eaglenet"), optax.adam(1e-3), make_mesh()
    params = jax.eval_shape(system.init, jax.eval_shape(lambda: jax.random.key(0)))
    state = jax.eval_shape(lambda params: initial_state(system, optimizer, params), params)

    def placed(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    rows = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    batch = {name: placed(leaf, rows) for name, leaf in tiny.batch(BATCH).items()}
    state = jax.tree.map(placed, state, state_shardings(state, mesh))
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = make_train_step(system, optimizer, mesh=mesh).lower(state, batch, key).compile()
    found = Program(step.as_text()).collectives(unknown_trips=1)

    assert set(found) == {"all-gather", "all-reduce"}
    assert len(found["all-gather"]) <= MOST_GATHERS and len(found["all-reduce"]) <= MOST_REDUCTIONS
    assert all(cost.times == 1 for costs in found.values() for cost in costs), "a loop would send again in every turn"
    videos = BATCH * tiny.FRAMES * tiny.WIDTH * 4
    assert max(cost.written for cost in found["all-gather"]) <= videos < BATCH * BATCH * tiny.WIDTH * 4
    gradients = sum(leaf.size * 4 for leaf in jax.tree.leaves(params))
    # Every gradient once, and those of the seven arrays that are prepared of the videos.
    assert gradients <= sum(cost.read for cost in found["all-reduce"]) <= gradients + 11 * videos
