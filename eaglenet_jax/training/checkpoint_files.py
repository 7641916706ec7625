"""Files of one checkpoint: names of its arrays, reading, verification.

A checkpoint is a folder with three parts: `state` (orbax; arrays under their names, "params/clip/…"),
`metadata/metadata` (JSON) and SHA256SUMS of both, in the format of `sha256sum -c`. Orbax alone reads flipped bits as
numbers; the checksums detect every damage.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import PyTree

from eaglenet_jax.errors import UserError, first_line, listed
from eaglenet_jax.training.optimizer import parameter_name

CHECKSUMS = "SHA256SUMS"


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keep orbax's messages off the terminal; every error is raised to the caller as well.

    It logs its progress, and errors with a traceback, through absl. When one write fails, the others in progress end in
    errors that no caller receives, which asyncio logs or Python prints ("Event loop is closed").
    """
    loggers, report_unraisable = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook

    def not_orbax(record: logging.LogRecord) -> bool:
        return "/orbax/" not in Path(record.pathname).as_posix() and "/orbax/" not in record.getMessage()

    def unless_abandoned(unraisable: Any) -> None:
        files = [Path(frame.filename).as_posix() for frame in traceback.extract_tb(unraisable.exc_traceback)]
        closed_loop = str(unraisable.exc_value) == "Event loop is closed"
        if not (closed_loop or any("/orbax/" in file for file in files)):
            report_unraisable(unraisable)

    for logger in loggers:
        logger.addFilter(not_orbax)
    sys.unraisablehook = unless_abandoned
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(not_orbax)
        sys.unraisablehook = report_unraisable


def _flat(tree: PyTree) -> dict[str, Any]:
    return {parameter_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(tree: PyTree) -> dict[str, Any]:
    """Return the tree as plain dicts, so that reading it needs no class of optax or ours."""
    flat = {name: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for name, leaf in _flat(tree).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


@quiet_orbax()
def saved_shapes(folder: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shapes and types of the arrays in a checkpoint, by name."""
    import orbax.checkpoint as ocp

    tree = ocp.PyTreeCheckpointer().metadata(folder / "state").item_metadata.tree
    return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in _flat(tree).items()}


@quiet_orbax()
def read_arrays(folder: Path, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Read arrays by name.

    Args:
        folder: The checkpoint.
        shapes: Arrays to read; their shardings place them, by default on the first device.
    """
    import orbax.checkpoint as ocp

    if not shapes:
        return {}
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or first)
        for name, leaf in shapes.items()
    }
    item = traverse_util.unflatten_dict(placed, sep="/")
    args = ocp.args.PyTreeRestore(
        item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    )
    return _flat(ocp.PyTreeCheckpointer().restore(folder / "state", args=args))


def restore_state(folder: Path, target: PyTree) -> PyTree:
    """Restore the arrays of a checkpoint as a tree like `target`.

    Args:
        folder: The checkpoint.
        target: Arrays or `jax.ShapeDtypeStruct`; shardings, if it has any, place the arrays.

    Raises:
        UserError: Names, shapes or types by which the checkpoint and the target differ, the first of them listed.
    """
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
        for name, leaf in _flat(target).items()
    }
    saved = saved_shapes(folder)
    differences = [f"{name} only in the checkpoint" for name in sorted(saved.keys() - wanted.keys())]
    differences += [f"{name} missing in the checkpoint" for name in sorted(wanted.keys() - saved.keys())]
    for name in sorted(saved.keys() & wanted.keys()):
        stored, needed = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (saved[name], wanted[name]))
        if stored != needed:
            differences.append(f"{name} {stored} in the checkpoint, {needed} here")
    if differences:
        raise UserError(
            f"checkpoint {folder} is of another config, {len(differences)} of {len(wanted)} arrays differ: "
            f"{listed(differences, separator='; ')}. Use the config it was trained with, or another work directory"
        )
    arrays = read_arrays(folder, wanted)
    return jax.tree.unflatten(jax.tree.structure(target), [arrays[name] for name in wanted])


def _files(folder: Path) -> list[str]:
    """List the files below `state` and `metadata`, the parts that orbax does not modify later."""
    files = [path for part in ("metadata", "state") for path in (folder / part).rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Complete a checkpoint whose other files are written."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / CHECKSUMS).write_text("".join(lines))


def damage(folder: Path) -> str:
    """Return what is wrong with the files of a checkpoint, "" if nothing is."""
    try:
        for line in (folder / CHECKSUMS).read_text().splitlines():
            digest, name = line.split("  ", 1)
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError) as error:
        return reason(error)
    return ""


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the JSON part.

    Raises:
        OSError: It is missing.
        ValueError: It is damaged.
    """
    return json.loads((folder / "metadata/metadata").read_text())


def reason(error: BaseException) -> str:
    """Return the operating system's reason if there is one, else the first line of the message."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        # tensorstore's format; other notes may stand before the code, or behind a short write instead of it.
        named = re.search(r": ([^:[]+) \[[a-z_]+=|bytes to file \d+: ([^:[\n]+)", str(cause))
        if named:
            return (named[1] or named[2]).strip()
        cause = cause.__cause__ or cause.__context__
    return first_line(error)[:300]
