"""Checkpoints of the whole training state: written in the background, atomic, verified when read.

A step is saved as DIRECTORY/STEP (see checkpoint_files.py). It is written under a temporary name in the same directory
and renamed when complete, so a killed process leaves the previous checkpoint intact.
"""

from __future__ import annotations

import contextlib
import gc
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from eaglenet_jax.errors import UserError
from eaglenet_jax.progress import say_in_first_process
from eaglenet_jax.training.checkpoint_files import (
    damage,
    nested,
    quiet_orbax,
    read_arrays,
    read_metadata,
    reason,
    restore_state,
    saved_shapes,
    write_checksums,
)

_PACKAGES = ("eaglenet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Checkpoints:
    """Checkpoints of one run. A context manager: leaving it waits until the last save is on disk.

    With several processes, all of them make the same calls on one shared directory.

    Args:
        directory: Created by the first save.
        keep: Number of the newest checkpoints that are kept, in addition to the best.
        report: Receives warning lines.
    """

    def __init__(
        self, directory: str | Path, keep: int = 2, report: Callable[[str], None] = say_in_first_process
    ) -> None:
        self._directory = Path(directory).absolute()
        self._report = report
        self._manager: Any = None
        self._saving: int | None = None
        self._kept = _NewestAndBest(keep, None)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Checkpoints:
        self._open.enter_context(quiet_orbax())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            try:
                self.close()
            except UserError as failure:
                if error is None:
                    raise
                self._report(str(failure))  # the error that is being raised matters more

    def steps(self) -> list[int]:
        """Return the steps of all complete checkpoints, ascending."""
        if not self._directory.is_dir():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdigit() and path.is_dir())

    def latest(self) -> int | None:
        """Return the step of the newest complete checkpoint, None without any."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """Return the step of the newest checkpoint that was saved as the best, None without any."""
        for step in reversed(self.steps()):
            # A checkpoint that is being deleted, or is damaged, has no readable metadata.
            with contextlib.suppress(OSError, ValueError, KeyError):
                if self.metadata(step)["is_best"]:
                    return step
        return None

    def metadata(self, step: int) -> dict[str, Any]:
        """Return the metadata saved with a step: the caller's, and `step`, `is_best`, `versions`."""
        return read_metadata(self._directory / str(step))

    def save(self, step: int, state: PyTree, metadata: Mapping[str, Any], best: bool = False) -> None:
        """Save a state in the background; its arrays may be donated as soon as this returns.

        A step that is saved already is left unchanged.

        Args:
            step: Number of updates made.
            state: The training state.
            metadata: JSON values.
            best: Whether this is the best checkpoint so far, to be kept until the next best one.

        Raises:
            UserError: This save or the previous one could not be written (a full disk, a directory without write
                permission); complete checkpoints stay intact.
            ValueError: The step is saved already and `best` is True.
        """
        if step == self._saving or step in self.steps():
            if best:
                raise ValueError(f"step {step} is saved already; give best=True when it is saved first")
            return
        record = {**metadata, "step": step, "is_best": best, "versions": package_versions()}
        previous = self._saving
        try:
            import orbax.checkpoint as ocp

            manager = self._open_manager()
            manager.wait_until_finished()  # so that an error from here on is this step's
            previous = self._saving = step
            self._kept.best = step if best else self._kept.best
            composite = ocp.args.Composite(
                state=ocp.args.StandardSave(nested(state)), metadata=ocp.args.JsonSave(record)
            )
            manager.save(step, args=composite, force=True)
        except Exception as error:
            raise self._failure(previous if previous is not None else step, error) from error

    def with_metadata(self, metadata: Callable[[], Mapping[str, Any]]) -> _WithMetadata:
        """Return these checkpoints, with metadata() added to the metadata of every save."""
        return _WithMetadata(self, metadata)

    def close(self) -> None:
        """Wait for the save in progress.

        Raises:
            UserError: It could not be written.
        """
        manager, self._manager = self._manager, None
        if manager is None:
            return
        try:
            manager.close()
        except Exception as error:
            raise self._failure(self._saving, error) from error

    def restore(self, target: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """Restore the newest readable checkpoint.

        A damaged checkpoint is reported, renamed to STEP.damaged, and the previous one is used.

        Args:
            target: A state of arrays or `jax.ShapeDtypeStruct`; its shardings, if it has any, place the arrays, so a
                checkpoint may come from another number of devices.

        Returns:
            (state, metadata as from `metadata`).

        Raises:
            UserError: There is none, none is readable, or its arrays have other names, shapes or types than the
                target's (all are listed).
        """
        self.close()
        damaged: list[Path] = []
        for step in reversed(self.steps()):
            folder = self._directory / str(step)
            problem = _agreed(folder)
            if not problem:
                try:
                    restored = restore_state(folder, target), self.metadata(step)
                except UserError:
                    raise
                except Exception as error:  # orbax raises whatever its layers raise
                    problem = reason(error)
                else:
                    _set_aside(damaged)
                    return restored
            damaged.append(folder)
            self._report(f"warning: checkpoint {folder} is damaged ({problem}); trying the one before")
        if damaged:
            raise UserError(
                f"no readable checkpoint in {self._directory}: all {len(damaged)} are damaged; "
                "move the directory away to start from the beginning"
            )
        raise UserError(f"no checkpoint in {self._directory}; is this the work directory of a run that has saved one?")

    def restore_params(self, which: int | str = "best", averaged: bool = False) -> PyTree:
        """Restore the parameters alone, on the first device.

        Args:
            which: A step, "best" or "last".
            averaged: Restore their moving average instead (`training.ema`).

        Raises:
            UserError: There is no such checkpoint, or it is damaged.
        """
        step = {"best": self.best(), "last": self.latest()}.get(str(which), which)
        if step not in self.steps():
            found = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"no checkpoint {which!r} in {self._directory}; choose one of its steps: {found}")
        folder = self._directory / str(step)
        prefix = "opt_state/average/" if averaged else "params/"
        problem = damage(folder)
        if not problem:
            try:
                shapes = {name: leaf for name, leaf in saved_shapes(folder).items() if name.startswith(prefix)}
                arrays = read_arrays(folder, shapes)
            except Exception as error:
                problem = reason(error)
        if problem:
            others = ", ".join(str(other) for other in self.steps() if other != step) or "none"
            raise UserError(f"checkpoint {folder} is damaged ({problem}); choose another step: {others}")
        if not arrays:
            raise UserError(f"checkpoint {folder} holds no averaged parameters: the run kept no moving average")
        flat = {name.removeprefix(prefix): array for name, array in arrays.items()}
        return traverse_util.unflatten_dict(flat, sep="/")

    def _open_manager(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            self._kept.best = self.best()
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._kept,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
            )
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        return self._manager

    def _write_checksums(self) -> None:
        """Write the checksums in orbax's thread, when everything else is written and before the rename."""
        for folder in self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"):
            write_checksums(folder)

    def _failure(self, step: int | None, error: Exception) -> UserError:
        for leftover in self._directory.glob(f"{step}.orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        self._manager = self._saving = None
        gc.collect()  # orbax's abandoned writes end with messages; end them while those are suppressed
        kept = self.latest()
        intact = "there is no earlier one" if kept is None else f"the one of step {kept} is intact"
        return UserError(
            f"could not save the checkpoint of step {step} in {self._directory}: {reason(error)}; {intact}. "
            "Free some space or make the directory writable, and start again"
        )


class _NewestAndBest:
    """Preservation policy for orbax: keep the newest checkpoints and the best."""

    def __init__(self, newest: int, best: int | None) -> None:
        self._newest, self.best = newest, best

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        newest = sorted(info.step for info in checkpoints)[-self._newest :]
        return [info.step in newest or info.step == self.best for info in checkpoints]


class _WithMetadata:
    """Checkpoints with metadata added to every save."""

    def __init__(self, checkpoints: Checkpoints, metadata: Callable[[], Mapping[str, Any]]) -> None:
        self._checkpoints, self._metadata = checkpoints, metadata

    def save(self, step: int, state: PyTree, metadata: Mapping[str, Any], *, best: bool = False) -> None:
        self._checkpoints.save(step, state, {**self._metadata(), **metadata}, best=best)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _agreed(folder: Path) -> str:
    """Return `damage` as the first process finds it, for all processes, so that all resume from the same step."""
    problem = damage(folder) if jax.process_index() == 0 else ""
    if jax.process_count() == 1:
        return problem
    damaged = bool(multihost_utils.broadcast_one_to_all(np.asarray(bool(problem))))
    return (problem or "found by the first process") if damaged else ""


def _set_aside(damaged: list[Path]) -> None:
    """Rename damaged checkpoints, whose steps will be saved again."""
    if jax.process_index() == 0:
        for folder in damaged:
            shutil.rmtree(folder.with_suffix(".damaged"), ignore_errors=True)
            folder.rename(folder.with_suffix(".damaged"))
    if damaged and jax.process_count() > 1:
        multihost_utils.sync_global_devices("damaged checkpoints set aside")
