"""Runs a head's pairwise method over all rows of texts: in blocks, rematerialised, spread over devices.

What a head computes per text–video pair is far larger than its similarity matrix. Blocks of rows one after the other,
whose intermediates are computed again in the backward pass, keep memory proportional to a block. On a mesh every device
takes its share of the rows; a plain `lax.map` over rows that are sharded would run every trip on every device.
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
    """The `Pairwise` of heads/interface.py for given devices and block size.

    mesh: rows are spread over its data axis; columns and shared arguments are whole on every device. block: most rows
    that a device works on at a time, all of its rows by default. remat: compute a block's intermediates again in the
    backward pass instead of keeping them (with blocks only). The result and its gradients depend on none of them, to
    float tolerance. A method is a bound method of a flax module, or a functools.partial of one with keyword arguments.
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
    """(rows, variables, columns, shared) → result, and the variables: jax transforms and bound modules do not mix."""
    options: dict[str, Any] = {}
    if isinstance(method, partial) and not method.args:
        options = method.keywords
        method = method.func
    bound = getattr(method, "__self__", None)
    if not isinstance(bound, nn.Module):
        raise TypeError(
            f"pairwise needs a method of a bound flax module, perhaps with keyword arguments, not {method!r}"
        )
    name = method.__name__
    module, variables = bound.unbind()

    def apply(rows: Any, variables: Any, columns: Any, shared: tuple[Any, ...]) -> Any:
        return module.apply(variables, rows, columns, *shared, method=name, **options)

    return apply, variables


def _rows(tree: Any) -> int:
    return jax.tree.leaves(tree)[0].shape[0]


def _padded(rows: Any, missing: int) -> Any:
    """Row 0 again, `missing` times at the end: a real row, so nothing degenerate enters the gradient."""
    if not missing:
        return rows
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[:1], missing, axis=0)]), rows)


def _in_blocks(apply: RowFunction, block: int, remat: bool) -> RowFunction:
    def blocked(rows: Any, *rest: Any) -> Any:
        count = _rows(rows)
        blocks = -(-count // block)
        size = -(-count // blocks)  # as even as possible, so that little is padded
        split = jax.tree.map(
            lambda leaf: leaf.reshape(blocks, size, *leaf.shape[1:]), _padded(rows, blocks * size - count)
        )
        one = jax.checkpoint(apply) if remat else apply
        result = jax.lax.map(lambda rows: one(rows, *rest), split)
        return jax.tree.map(lambda leaf: leaf.reshape(blocks * size, *leaf.shape[2:])[:count], result)

    return blocked


def _over_devices(apply: RowFunction, mesh: Mesh) -> RowFunction:
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
