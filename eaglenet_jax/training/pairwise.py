"""Execution of a head's pairwise method over all rows of texts: in blocks, rematerialised, spread over devices.

What a head computes per text–video pair is far larger than its similarity matrix. Processing blocks of rows one after
the other, and recomputing their intermediates in the backward pass, keeps memory proportional to a block. On a mesh
every device takes its share of the rows; a plain `lax.map` over sharded rows would run every trip on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from eaglenet_jax.heads.interface import Pairwise, whole
from eaglenet_jax.training.sharding import DATA_AXIS

RowFunction = Callable[..., Any]


def make_pairwise(mesh: Mesh | None = None, block: int | None = None, remat: bool = True) -> Pairwise:
    """Build the `Pairwise` of heads/interface.py for given devices and block size.

    The result and its gradients depend on none of the arguments, to float tolerance. A method is a bound method of a
    flax module, or a functools.partial of one with keyword arguments.

    Args:
        mesh: Rows are spread over its data axis; columns and shared arguments are whole on every device.
        block: Most rows that a device processes at a time, all of its rows by default.
        remat: Recompute a block's intermediates in the backward pass instead of keeping them (with blocks only).
    """
    if mesh is None and block is None:
        return whole

    def pairwise(method: Callable[..., Any], rows: Any, columns: Any, *shared: Any) -> Any:
        apply, variables = _unbound(method)
        if block is not None:
            apply = _in_blocks(apply, block, remat)
        if mesh is not None:
            apply = _over_devices(apply, mesh)
        return apply(rows, variables, columns, shared)

    return pairwise


def _unbound(method: Callable[..., Any]) -> tuple[RowFunction, Any]:
    """Return (rows, variables, columns, shared) → result, and the variables: jax transforms reject bound modules."""
    options: dict[str, Any] = {}
    if isinstance(method, partial) and not method.args:
        options = method.keywords
        method = method.func
    bound = getattr(method, "__self__", None)
    if not isinstance(bound, nn.Module):
        raise TypeError(
            "pairwise needs a method of a bound flax module, or a functools.partial of one with keyword arguments, "
            f"not {method!r}"
        )
    name = method.__name__
    module, variables = bound.unbind()

    def apply(rows: Any, variables: Any, columns: Any, shared: tuple[Any, ...]) -> Any:
        return module.apply(variables, rows, columns, *shared, method=name, **options)

    return apply, variables


def _rows(tree: Any) -> int:
    return jax.tree.leaves(tree)[0].shape[0]


def _padded(rows: Any, missing: int) -> Any:
    """Repeat row 0 `missing` times at the end: a real row, so nothing degenerate enters the gradient."""
    if not missing:
        return rows
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[:1], missing, axis=0)]), rows)


def _in_blocks(apply: RowFunction, block: int, remat: bool) -> RowFunction:
    """Run the function on blocks of rows one after the other."""

    def blocked(rows: Any, *rest: Any) -> Any:
        count = _rows(rows)
        blocks = -(-count // block)
        size = -(-count // blocks)  # as even as possible, to pad little
        split = jax.tree.map(
            lambda leaf: leaf.reshape(blocks, size, *leaf.shape[1:]), _padded(rows, blocks * size - count)
        )
        one = jax.checkpoint(apply) if remat else apply
        result = jax.lax.map(lambda rows: one(rows, *rest), split)
        return jax.tree.map(lambda leaf: leaf.reshape(blocks * size, *leaf.shape[2:])[:count], result)

    return blocked


def _over_devices(apply: RowFunction, mesh: Mesh) -> RowFunction:
    """Run the function on each device's share of the rows."""
    by_row, everywhere = PartitionSpec(DATA_AXIS), PartitionSpec()
    # check_vma=False: a head may scan with a carry that starts as plain zeros, which the check would refuse.
    spread = jax.shard_map(
        apply, mesh=mesh, in_specs=(by_row, everywhere, everywhere, everywhere), out_specs=by_row, check_vma=False
    )

    def sharded(rows: Any, *rest: Any) -> Any:
        count = _rows(rows)
        result = spread(_padded(rows, -count % mesh.shape[DATA_AXIS]), *rest)
        return jax.tree.map(lambda leaf: leaf[:count], result)

    return sharded
