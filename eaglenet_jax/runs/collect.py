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

from eaglenet_jax.config.loading import as_plain, is_free
from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.saved_config import has_config, saved_config
from eaglenet_jax.runs.workdir import EARLIER_STAGES, RESULT_FILE, read_result


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Find the work directories of finished runs in or below the folders, in order, first stages of others left out.

    Raises UserError for a folder that is not there, or if there is no finished run at all.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            if folder.is_file():  # runs/* may match files next to the runs
                continue
            raise UserError(f"{folder} is no folder; give work directories of runs, as runs/*")
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


@dataclasses.dataclass(frozen=True)
class Family:
    """Runs that differ in their seed alone, on one split of one dataset. data: identifies that split."""

    label: str
    results: Sequence[StageResult]
    data: str


def families(workdirs: Sequence[Path], split: str) -> list[Family]:
    """Group runs that differ in their seed alone, in the order of their first run.

    The label is the name of the folder, or of the one above for folders called seed_N. Runs without the split are
    skipped; of two runs of one config and seed the first counts, and a warning says so. Raises UserError if no run has
    the split.
    """
    groups: dict[tuple[str, str], tuple[str, dict[int, StageResult]]] = {}
    for workdir in workdirs:
        result = read_result(workdir)
        if result is None or split not in result.metrics:
            continue
        config = saved_config(workdir)
        name = workdir.absolute()
        label = name.parent.name if re.fullmatch(r"seed_\d+", name.name) else name.name
        data = result.split_hash.get(split) or f"{config.data.dataset} {result.gallery[split]}"
        by_seed = groups.setdefault((_family(config), data), (label, {}))[1]
        if config.seed in by_seed:
            print(f"warning: {workdir} is left out: another run of this config and seed is there", file=sys.stderr)
        by_seed.setdefault(config.seed, result)
    if not groups:
        raise UserError(f"no run has results on the split {split!r}; give another --split")
    labels = [label for label, _ in groups.values()]
    return [
        Family(
            label if labels.count(label) == 1 else f"{label} ({next(iter(results.values())).config_hash})",
            list(results.values()),
            data,
        )
        for (_, data), (label, results) in groups.items()
    ]


def _family(config: Any) -> str:
    """A hash of everything in a config that changes what is computed, but for seeds of training."""
    text = json.dumps(_without_seeds(config), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_seeds(config: Any) -> dict[str, Any]:
    def kept(part: Any, prefix: str = "") -> Any:
        if not isinstance(part, dict):
            return part
        return {key: kept(value, f"{prefix}{key}.") for key, value in part.items() if not is_free(f"{prefix}{key}")}

    plain = {key: value for key, value in kept(as_plain(config)).items() if key not in ("seed", "name", "first_stage")}
    if config.first_stage:
        plain["starts_from"] = _without_seeds(config.first_stage)
    elif config.init_from and has_config(Path(config.init_from)):
        # The first stage of a sweep: a folder of its own a seed.
        plain["starts_from"] = _without_seeds(saved_config(Path(config.init_from)))
    if "starts_from" in plain:
        plain["init_from"] = ""
    return plain
