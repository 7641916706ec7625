"""Traced training steps, kept beside the compiled programs: a second start neither traces nor lowers its step."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.compilation_cache import traced_folder
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.code_digest import code_digest
from eaglenet_jax.runs.plan import StagePlan
from eaglenet_jax.runs.time_estimate import product_flops
from eaglenet_jax.training.state import TrainState
from eaglenet_jax.training.step import Batch, JittedStep, TrainStep

MOST_FILES = 64  # what was not used for longest is removed beyond it
DEBUGGING = ("jax_debug_nans", "jax_debug_infs", "jax_disable_jit")  # what they say names lines of the traced code
DIGEST_SIZE = 16
# Fields that no step is traced from. Seeds are arguments, and of a first stage the parameters are.
NEVER_TRACED = ("seed", "name", "claim", "data", "first_stage", "init_from", "checkpoints", "compilation_cache")


@dataclasses.dataclass(frozen=True)
class ReadyStep:
    """A training step that can be called.

    Attributes:
        step: The step.
        flops: Of its matrix products.
        kept: Whether it was read and not traced.
    """

    step: TrainStep
    flops: float
    kept: bool = False


class ReadAhead:
    """A kept step that is read, and its program with it, while the main thread opens data and parameters."""

    def __init__(self, file: Path) -> None:
        pool = concurrent.futures.ThreadPoolExecutor(1, "kept step")
        self.traced = pool.submit(_read, file)
        self.program = pool.submit(lambda: (traced := self.traced.result()) and traced.compiled())
        pool.shutdown(wait=False)


@dataclasses.dataclass(frozen=True)
class _TracedStep:
    """A step as it is kept: a function of the leaves of (state, batch, key), which returns leaves as well.

    Attributes:
        exported: The function.
        arguments: Structure, shapes and types of its arguments, as `_described` writes them.
        state_leaves: How many of the leaves are the state.
        metrics: Names of the metrics that it returns behind the state.
        flops: Of its matrix products.
    """

    exported: jax.export.Exported
    arguments: str
    state_leaves: int
    metrics: tuple[str, ...]
    flops: float

    def compiled(self) -> Any:
        """Compile it, or read its program where it was compiled before."""

        def step(*leaves: Any) -> Any:
            return self.exported.call(*leaves)

        shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in self.exported.in_avals]
        return jax.jit(step, donate_argnums=tuple(range(self.state_leaves))).lower(*shapes).compile()


def step_file(plan: StagePlan) -> Path | None:
    """Find where the step of a stage is kept; None where it is not.

    It is kept by commands (`traced_folder`) that train a system of this package on one CPU. A program that shows where
    in the code something is, for a trace (`config.profile`) or by jax's switches for debugging, is made anew.

    Args:
        plan: Of the stage.
    """
    folder = traced_folder()
    ours = _is_of_this_package(plan.system.head)
    alone = jax.device_count() == 1 and jax.default_backend() == "cpu"
    shown = plan.config.profile or any(jax.config.values[name] for name in DEBUGGING)
    if folder is None or not (ours and alone) or shown or not (code := code_digest()):
        return None
    config = {name: value for name, value in as_plain(plan.config).items() if name not in NEVER_TRACED}
    key = json.dumps([code, config, plan.steps], sort_keys=True)
    return folder / hashlib.blake2b(key.encode(), digest_size=DIGEST_SIZE).hexdigest()


def _is_of_this_package(module: nn.Module) -> bool:
    """Whether the code of a module, and of those that are its fields, is this package's."""
    fields = [getattr(module, field.name, None) for field in dataclasses.fields(module)]
    inner = [value for value in fields if isinstance(value, nn.Module)]
    return type(module).__module__.startswith("eaglenet_jax.") and all(map(_is_of_this_package, inner))


def read_ahead(file: Path | None) -> ReadAhead | None:
    """Begin to read a kept step in a thread; None where there is none."""
    return ReadAhead(file) if file is not None and file.is_file() else None


def ready_step(
    step: JittedStep, file: Path | None, ahead: ReadAhead | None, state: TrainState, batch: Batch, key: Any
) -> ReadyStep:
    """Return the step that was read, or trace this one and keep it.

    Args:
        step: Of `make_train_step`, which donates its state.
        file: Of `step_file`; with None the step is traced and returned as it is.
        ahead: Of `read_ahead`.
        state: Of the first step.
        batch: Likewise.
        key: Likewise.
    """
    arguments = state, batch, key
    traced = ahead.traced.result() if ahead is not None else None
    if ahead is not None and traced is not None and traced.arguments == _described(arguments):
        return ReadyStep(_kept(step, traced, ahead.program.result, arguments), traced.flops, kept=True)
    flops = product_flops(step.trace(*arguments).jaxpr)  # the first step is not traced again
    traced = None if file is None else _traced(step, arguments, flops)
    if file is None or traced is None:
        return ReadyStep(step, flops)

    def compiled() -> Any:
        program = traced.compiled()
        _write(file, traced)  # now: what is read ahead would be compiled in a thread, which no signal ends
        return program

    return ReadyStep(_kept(step, traced, compiled, arguments), flops)


def _kept(step: TrainStep, traced: _TracedStep, program: Callable[[], Any], arguments: Any) -> TrainStep:
    """Make a training step of a traced one.

    program: Gives its compiled form, at the first call, so that a signal that comes while it is compiled is answered by
    the training loop. Arguments of other shapes are left to `step`.
    """
    state_structure = jax.tree.structure(arguments[0])
    wanted = _signature(arguments)
    compiled: Any = None

    def call(state: TrainState, batch: Batch, key: Any) -> tuple[TrainState, dict[str, Any]]:
        nonlocal compiled
        if _signature((state, batch, key)) != wanted:
            return step(state, batch, key)
        compiled = compiled or program()
        leaves = compiled(*jax.tree.leaves((state, batch, key)))
        new, metrics = leaves[: traced.state_leaves], leaves[traced.state_leaves :]
        return jax.tree.unflatten(state_structure, new), dict(zip(traced.metrics, metrics, strict=True))

    return call


def _traced(step: JittedStep, arguments: Any, flops: float) -> _TracedStep | None:
    """Trace a step as a function of leaves; None where it cannot be stored, as one that calls Python."""
    leaves, structure = jax.tree.flatten(arguments)
    state, metrics = jax.eval_shape(step, *arguments)
    before: Any = jax.tree.structure(arguments[0])
    if jax.tree.structure(state) != before:
        return None

    def of_leaves(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(step(*jax.tree.unflatten(structure, leaves)))

    try:
        exported = jax.export.export(jax.jit(of_leaves))(*leaves)
        exported.serialize()  # what cannot be stored is not called in this form either
    except (ValueError, NotImplementedError, ImportError):
        return None
    return _TracedStep(exported, _described(arguments), before.num_leaves, tuple(sorted(metrics)), flops)


def _signature(arguments: Any) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _described(arguments: Any) -> str:
    structure, leaves = _signature(arguments)
    return f"{structure} {[(shape, str(dtype)) for shape, dtype in leaves]}"


def _write(file: Path, traced: _TracedStep) -> None:
    """Keep a traced step; where the disk is full or the folder not to be written into, the next start traces again."""
    header = {name: getattr(traced, name) for name in ("arguments", "state_leaves", "metrics", "flops")}
    content = json.dumps(header).encode() + b"\n" + bytes(traced.exported.serialize())
    digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, digest + content)
        kept = sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in kept[:-MOST_FILES]:
            old.unlink()
    except (UserError, OSError):  # OSError: another process removes files as well
        return


def _read(file: Path) -> _TracedStep | None:
    """Read a kept step; None where the file is damaged or of another form."""
    try:
        whole = file.read_bytes()
        digest, content = whole[:DIGEST_SIZE], whole[DIGEST_SIZE:]
        if hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest() != digest:
            return None
        header, _, exported = content.partition(b"\n")
        found = json.loads(header)
        with contextlib.suppress(OSError):
            os.utime(file)  # not touched: it may have been removed meanwhile
        return _TracedStep(
            jax.export.deserialize(bytearray(exported)),
            found["arguments"],
            found["state_leaves"],
            tuple(found["metrics"]),
            found["flops"],
        )
    except (OSError, ValueError, KeyError, ImportError):
        return None
