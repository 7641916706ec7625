"""A work directory: the names of what it holds, its lock, its claim by a config, its results and its checkpoints.

config.json   the resolved config               metrics.json    results by split, written at the end
checkpoints/  the newest and the best steps     report.html     the page of the results
events/       logs of training                  retrieval.png   retrieved clips as strips of frames
profile/      traces, where asked for           first_stage/    work directory of the stage before
ranks.npz     the rank of every query
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.config.checking import check_config
from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.errors import UserError, listed
from eaglenet_jax.reports.stage_results import Selection, StageResult
from eaglenet_jax.runs.saved_config import (
    CONFIG_FILE,
    FIRST_STAGES,
    differences,
    has_config,
    save_config,
    saved_config,
)
from eaglenet_jax.training.checkpoints import Checkpoints

CHECKPOINTS = "checkpoints"
FIRST_STAGE = "first_stage"
OLD_FIRST_STAGE = "pretrain"  # the name of that folder in work directories that were begun before it was renamed
RESULT_FILE = "metrics.json"
REPORT_FILE = "report.html"
PICTURE_FILE = "retrieval.png"
RANKS_FILE = "ranks.npz"
EVENTS = "events"
PROFILE = "profile"
LOCK_FILE = ".lock"
# Folders inside work directories and sweeps that hold what runs started from.
EARLIER_STAGES = (FIRST_STAGE, OLD_FIRST_STAGE, FIRST_STAGES)
WRITTEN = (RESULT_FILE, REPORT_FILE, PICTURE_FILE, CONFIG_FILE, EVENTS, CHECKPOINTS)  # as `train` lists them


@dataclasses.dataclass(frozen=True)
class CheckpointRecord:
    """Facts about a saved checkpoint, without its arrays.

    Attributes:
        folder: Where its arrays lie.
        step: Updates before it was saved.
        selection: What chose it.
        selection_note: More about what chose it, where `selection` does not say all; else empty.
        seed: Seed of its training.
        converted_from: The program that wrote it, see `eaglenet_jax.convert`; empty for ours.
        fps: Frames a second of the data that it was trained on; None where that was not noted.
        sampling: How else frames of those data were chosen, see `PreparedDataset.sampling`.
        data_fingerprint: Of the data that it was trained on; None where that was not noted.
        config: Of the work directory, or the one that was given for a checkpoint without a work directory.
    """

    folder: Path
    step: int
    selection: Selection
    selection_note: str
    seed: int
    converted_from: str
    fps: float | None
    sampling: Mapping[str, Any]
    data_fingerprint: str | None
    config: Any


@dataclasses.dataclass(frozen=True)
class LoadedCheckpoint(CheckpointRecord):
    """A checkpoint. params: {"clip": …, "head": …}, their moving average where the run keeps one."""

    params: Any


def has_checkpoints(folder: Path) -> bool:
    """Whether a folder is a work directory with a folder of checkpoints."""
    return (Path(folder) / CHECKPOINTS).is_dir()


def first_stage_folder(workdir: Path) -> Path:
    """The work directory of the stage before the one in `workdir`, whether or not it is there yet."""
    old = workdir / OLD_FIRST_STAGE
    return old if old.is_dir() and not (workdir / FIRST_STAGE).is_dir() else workdir / FIRST_STAGE


def checkpoint_record(source: Path) -> CheckpointRecord:
    """Read what is known of the best checkpoint; `source` and errors are those of `load_checkpoint`."""
    return _opened(source, None, None)[0]


def load_checkpoint(source: Path, step: int | None = None, config: Any = None) -> LoadedCheckpoint:
    """Load the parameters of a checkpoint, by default of the best one.

    Everything else loads parameters through this function.

    Args:
        source: A work directory, a folder of checkpoints, or the folder of one step.
        step: A step that is wanted instead of the best.
        config: Instead of the config of the work directory; needed where there is none.

    Raises:
        UserError: there is no such checkpoint or no config, or the checkpoint is damaged or lacks the moving average
            that the config says it has.
    """
    record, checkpoints, averaged = _opened(source, step, config)
    params = checkpoints.restore_params(record.step, averaged)
    return LoadedCheckpoint(**vars(record), params=params)


def _opened(source: Path, step: int | None, config: Any) -> tuple[CheckpointRecord, Checkpoints, bool]:
    folder = Path(source)
    if has_checkpoints(folder):
        config = saved_config(folder) if config is None else config
        folder = folder / CHECKPOINTS
    elif folder.name.isdigit() and folder.is_dir():
        if step not in (None, int(folder.name)):
            raise UserError(f"--step={step} and the checkpoint {folder} are two steps; give one of them")
        folder, step = folder.parent, int(folder.name)
    if config is None:
        config = saved_config(folder.parent if folder.name == CHECKPOINTS else folder)
    checkpoints = Checkpoints(folder)
    best = checkpoints.best()
    wanted = best if step is None else step
    if wanted is None or wanted not in checkpoints.steps():
        if not checkpoints.steps():
            raise UserError(f"{folder} holds no checkpoint; train it, or give another folder")
        found = ", ".join(map(str, checkpoints.steps()))
        raise UserError(f"no checkpoint {'best' if step is None else step!r} in {folder}; there are: {found}")
    try:
        noted = checkpoints.metadata(wanted)
    except (OSError, ValueError) as error:
        raise UserError(
            f"checkpoint {folder / str(wanted)} is damaged ({error}); choose another, as evaluate --step=N"
        ) from error
    # The config at hand may be another one than the checkpoint was trained with.
    trained = noted.get("config") or {}
    converted_from = noted.get("converted_from", "")
    if converted_from:
        selection, note = Selection.UNKNOWN, converted_note(converted_from)
    elif wanted != best:
        selection, note = Selection.STEP, f"step {wanted} was asked for"
    else:
        selection, note = Selection(trained.get("selection", config.selection)), ""
    record = CheckpointRecord(
        folder=(folder / str(wanted)).absolute(),
        step=wanted,
        selection=selection,
        selection_note=note,
        seed=trained.get("seed", config.seed),
        converted_from=converted_from,
        fps=noted.get("fps"),
        sampling=noted.get("sampling", {}),
        data_fingerprint=noted.get("data_fingerprint"),
        config=config,
    )
    return record, checkpoints, bool(config.ema_decay)


def converted_note(program: str) -> str:
    """The selection note of a checkpoint that another program chose and wrote."""
    return f"it was converted from {program}"


@contextlib.contextmanager
def exclusive(workdir: Path) -> Iterator[None]:
    """Hold the lock on a work directory; the operating system frees the lock of a killed process.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """
    if jax.process_index():
        yield  # the first process holds it for all
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(workdir / LOCK_FILE, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another process is training in {workdir}; wait for it, or give another --workdir") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--workdir {workdir} is a file or lies in one; give a folder") from error
    except OSError as error:
        raise UserError(f"cannot write into --workdir {workdir}: {error.strerror}; give another one") from error
    try:
        yield
    finally:
        lock.release()


def check_claim(config: Any, workdir: Path, changeable: Sequence[str] = ()) -> None:
    """Check that a work directory is new or holds a run of this config.

    Args:
        config: Resolved.
        workdir: Perhaps not there yet.
        changeable: Fields that may have another value than the run there has.

    Raises:
        UserError: it holds a run of another config, or the config is wrong in itself.
    """
    if not has_config(workdir):
        return
    found = differences(as_plain(saved_config(workdir)), as_plain(config))
    changes = [line for line in found if line.partition(":")[0] not in changeable]
    if changes:
        check_config(config)  # what is wrong with the config itself comes first
        raise UserError(
            f"{workdir} holds a run of another config ({listed(changes, separator='; ')}); "
            "give another --workdir, or delete it"
        )


def claim(config: Any, workdir: Path, changeable: Sequence[str] = ()) -> None:
    """Write the resolved config into a work directory; arguments and errors are those of `check_claim`."""
    check_claim(config, workdir, changeable)
    if jax.process_index() == 0:
        # Also over a config that differs in free fields only, so the file shows the values used last.
        save_config(config, workdir)


def write_result(result: StageResult, workdir: Path) -> None:
    """Write metrics.json, whole or not at all: the metrics by split on top, the rest under "run"."""
    run = {key: value for key, value in dataclasses.asdict(result).items() if key not in ("metrics", "workdir")}
    write_atomically(workdir / RESULT_FILE, json.dumps({**result.metrics, "run": run}, indent=1).encode())


def read_result(workdir: Path) -> StageResult | None:
    """The result of a finished run, None where there is none."""
    file = Path(workdir) / RESULT_FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        run = content.pop("run")
        selection, note = Selection.parse(run.pop("selection"))
        return StageResult(
            workdir=str(workdir),
            selection=selection,
            **{"selection_note": note, **run},
            metrics=content,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"warning: {file} is damaged; training makes it again", file=sys.stderr)
        return None


def written_files(workdir: Path) -> list[Path]:
    """Files and folders of a finished run that are there, in the order in which a person reads them."""
    return [file for name in WRITTEN if (file := Path(workdir) / name).exists()]
