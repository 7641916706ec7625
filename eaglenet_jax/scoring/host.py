"""Transfer of trees of arrays between devices and host memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def to_host(tree: Any) -> Any:
    """Copy a tree to NumPy arrays. Arrays of several processes are gathered, so all processes must call this."""
    return jax.tree.map(_leaf_to_host, tree)


def _leaf_to_host(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def min_over_processes(number: int) -> int:
    """Return the smallest of the numbers that the processes give. All processes must call this."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    # In kilobytes: 64-bit integers are not enabled everywhere.
    return 1024 * int(np.min(multihost_utils.process_allgather(np.int32(number >> 10))))


def to_all_devices(tree: Any, mesh: Mesh) -> Any:
    """Place a tree whole on every device of the mesh. With several processes each gives the same values."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # global already; a jitted function gathers what it needs
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, everywhere, lambda index: value[index])

    return jax.tree.map(place, tree)


def row_count(tree: Any) -> int:
    """Return the length of the leading axis."""
    return jax.tree.leaves(tree)[0].shape[0]


def padded_rows(start: int, size: int, count: int) -> np.ndarray:
    """List the row numbers start … start + size − 1 of `count` rows, [size]; past the end the last row repeats."""
    return np.minimum(np.arange(start, start + size), count - 1)
