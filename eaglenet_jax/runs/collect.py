"""Finished runs in folders, grouped into families that differ by their seed alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaglenet_jax.config.loading import without_free_fields
from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.saved_config import FIRST_STAGES, has_config, saved_config
from eaglenet_jax.runs.workdir import (
    CHECKPOINTS,
    EARLIER_STAGES,
    FIRST_STAGE,
    OLD_FIRST_STAGE,
    RESULT_FILE,
    first_stage_folder,
    read_result,
)

Key = tuple[str, str]  # hash of everything but seeds, and what identifies the split


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Find the work directories of finished runs in or below the folders, in order, first stages of others left out.

    Raises UserError for a folder that is not there, or if there is no finished run at all.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            if folder.is_file():  # runs/* may match files next to the runs
                continue
            near = near_path(folder, folders=True)
            raise UserError(f"there is no folder {folder}; give work directories of runs, as runs/*{near}")
        if (folder / RESULT_FILE).is_file():
            found[folder] = None
            continue
        for file in sorted(folder.rglob(RESULT_FILE)):
            inside = file.parent.relative_to(folder).parts
            if not any(part in EARLIER_STAGES for part in inside):
                found[file.parent] = None
    if not found:
        raise UserError(f"no finished run in {', '.join(map(str, folders))}: none has a {RESULT_FILE}")
    return list(found)


def unfinished_runs(folders: Sequence[Path]) -> list[Path]:
    """Find the work directories in or below the folders that have checkpoints and no results yet, in order.

    A run that has only checkpoints of its first stage counts; the stage itself does not.
    """
    found: dict[Path, None] = {}
    for folder in filter(Path.is_dir, folders):
        for checkpoints in sorted(folder.rglob(CHECKPOINTS)):
            workdir = checkpoints.parent
            while workdir.name in (FIRST_STAGE, OLD_FIRST_STAGE) and workdir != folder:
                workdir = workdir.parent
            inside = workdir.relative_to(folder).parts
            if not (any(part in EARLIER_STAGES for part in inside) or (workdir / RESULT_FILE).is_file()):
                found[workdir] = None
    return list(found)


@dataclasses.dataclass(frozen=True)
class Family:
    """Runs that differ in their seed alone, on one split of one dataset.

    data: identifies that split. data_name: its dataset, with the folder that was prepared.
    """

    label: str
    results: Sequence[StageResult]
    data: str
    data_name: str


def families(workdirs: Sequence[Path], split: str) -> list[Family]:
    """Group runs that differ in their seed alone, in the order of their first run, below the stages they started from.

    The label is the name of the folder, or of the one above for folders called seed_N, with the system behind it where
    the name does not say it; `labelled_stages` says that of a first stage. A first stage of many runs counts once, and
    not here if a run of the same config is among `workdirs`. Runs without the split are skipped; of two runs of one
    config and seed the first counts, and a warning says so.
    Raises UserError if no run has the split.
    """
    runs: dict[Key, tuple[Path, dict[int, StageResult]]] = {}
    names: dict[str, str] = {}
    for workdir in workdirs:
        if found := _member(workdir, split):
            folder = workdir.absolute()
            folder = folder.parent if re.fullmatch(r"seed_\d+", folder.name) else folder
            by_seed = runs.setdefault(found.key, (folder, {}))[1]
            if found.seed in by_seed:
                print(f"warning: {workdir} is left out: another run of this config and seed is there", file=sys.stderr)
            by_seed.setdefault(found.seed, found.result)
            names.setdefault(found.key[1], found.data_name)
    if not runs:
        raise UserError(f"no run has results on the split {split!r}; give another --split")
    stages: dict[Key, dict[int, StageResult]] = {}
    for workdir in _first_stages(workdirs):
        if (found := _member(workdir, split)) and found.key not in runs:
            stages.setdefault(found.key, {}).setdefault(found.seed, found.result)
            names.setdefault(found.key[1], found.data_name)
    of_stages = labelled_stages([list(by_seed.values()) for by_seed in stages.values()])
    of_runs = _labelled_runs([(folder, list(by_seed.values())) for folder, by_seed in runs.values()])
    data = [data for _, data in (*stages, *runs)]
    rows = zip([*of_stages, *of_runs], data, strict=True)
    return [Family(*row, of_data, names[of_data]) for row, of_data in rows]


def labelled_stages(stages: Sequence[Sequence[StageResult]]) -> list[tuple[str, Sequence[StageResult]]]:
    """Label first stages, each the results of its seeds, as rows of a table: "first stage NAME (SYSTEM)"."""
    return _distinct([(f"first stage {results[0].name} ({results[0].system})", results) for results in stages])


def _labelled_runs(runs: Sequence[tuple[Path, Sequence[StageResult]]]) -> list[tuple[str, Sequence[StageResult]]]:
    """Label runs by their folder, with the one above where two have the same name, and by their system."""
    names = [folder.name for folder, _ in runs]
    rows = []
    for folder, results in runs:
        label = folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}"
        system = results[0].system
        rows.append((label if system in re.split(r"[^a-z0-9]+", label) else f"{label} ({system})", results))
    return _distinct(rows)


def _distinct(rows: Sequence[tuple[str, Sequence[StageResult]]]) -> list[tuple[str, Sequence[StageResult]]]:
    """Rows with the hash of their config behind labels that occur more than once."""
    labels = [label for label, _ in rows]
    return [
        (label if labels.count(label) == 1 else f"{label} ({results[0].config_hash})", results)
        for label, results in rows
    ]


@dataclasses.dataclass(frozen=True)
class _Member:
    """A run of a family."""

    key: Key
    seed: int
    result: StageResult
    data_name: str


def _member(workdir: Path, split: str) -> _Member | None:
    """The run in a folder; None where it has no result on the split."""
    result = read_result(workdir)
    if result is None or split not in result.metrics:
        return None
    config = saved_config(workdir)
    data = result.split_hash.get(split) or f"{config.data.dataset} {result.gallery[split]}"
    name = config.data.dataset + (f" of {config.data.prepared}" if config.data.prepared else "")
    return _Member((family_hash(config), data), config.seed, result, name)


def _first_stages(workdirs: Sequence[Path]) -> list[Path]:
    """The work directories of the stages that runs started from, each once, an earlier stage first."""
    found: dict[Path, None] = {}

    def visit(workdir: Path) -> None:
        config = saved_config(workdir) if has_config(workdir) else None
        if config is None:
            return
        shared = Path(config.init_from) if Path(config.init_from).parent.name == FIRST_STAGES else None
        before = first_stage_folder(workdir) if config.first_stage else shared
        if before is not None and (before / RESULT_FILE).is_file():
            visit(before)
            found[before.absolute()] = None

    for workdir in workdirs:
        visit(workdir)
    return list(found)


def family_hash(config: Any) -> str:
    """A hash of everything in a config that changes what is computed, but for seeds of training."""
    text = json.dumps(_without_seeds(config), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_seeds(config: Any) -> dict[str, Any]:
    of_training = ("seed", "name", "first_stage")
    plain = {key: value for key, value in without_free_fields(config).items() if key not in of_training}
    if config.first_stage:
        plain["starts_from"] = _without_seeds(config.first_stage)
    elif config.init_from and has_config(Path(config.init_from)):
        # The first stage of a sweep: a folder of its own a seed.
        plain["starts_from"] = _without_seeds(saved_config(Path(config.init_from)))
    if "starts_from" in plain:
        plain["init_from"] = ""
    return plain
