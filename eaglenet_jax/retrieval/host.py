"""Trees of arrays between devices and host memory."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def to_host(tree: Any) -> Any:
    """The tree as NumPy arrays. Arrays spread over several processes are gathered, so all processes must call this."""
    return jax.tree.map(_leaf_to_host, tree)


def _leaf_to_host(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def row_count(tree: Any) -> int:
    """The length of the leading axis."""
    return jax.tree.leaves(tree)[0].shape[0]


def padded_rows(start: int, size: int, count: int) -> np.ndarray:
    """Row numbers start … start + size − 1 of `count` rows, [size]; past the end the last row again, a real one."""
    return np.minimum(np.arange(start, start + size), count - 1)
