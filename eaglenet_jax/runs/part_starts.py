"""Start of each part of a head: a checkpoint of another program, the stage before it, or random numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.port.blip2 import planned_start
from eaglenet_jax.runs.plan import StagePlan
from eaglenet_jax.runs.workdir import has_checkpoints

RANDOM = "random"


def start_rows(stage: StagePlan, number: int, earlier: StagePlan | None) -> list[str]:
    """Describe what the parts of a stage's head start from, a line for each source.

    number: of the stage in its run, from 1. earlier: the stage before it. Empty for a head that starts as a whole from
    one place, which the line of the stage names.
    """
    if earlier is None and stage.source and has_checkpoints(Path(stage.source)):
        return []
    sources = leaf_sources(stage, earlier, f"stage {number - 1}")
    if set(sources.values()) <= {RANDOM}:
        return []
    where = f"stage {number}, " if earlier is not None else ""
    return [f"{where}{source}: {', '.join(parts)}" for source, parts in gathered(sources).items()]


def leaf_sources(stage: StagePlan, earlier: StagePlan | None, earlier_name: str) -> dict[str, str]:
    """Find the source of every parameter of a stage's head, by path. Only shapes are read."""
    head, before = stage.system.head, stage.shapes["head"]
    read: list[str] = []

    def blip2(params: Any, shape: Any, source: str) -> Any:
        read.append(f"from BLIP-2 {source}")
        return planned_start(params, shape, source)

    after = head.start_from_files(before, {"blip2": blip2})
    sources = dict.fromkeys(_leaves(before), RANDOM) | _changed(before, after, read[0] if read else RANDOM)
    if earlier is not None:
        taken = head.start_from_head(after, earlier.system.head, earlier.shapes["head"])
        if taken is not None:
            sources |= _changed(after, taken, f"from {earlier_name}")
    return sources


def _leaves(tree: Any) -> dict[str, Any]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def _changed(before: Any, after: Any, source: str) -> dict[str, str]:
    old = _leaves(before)
    return {path: source for path, leaf in _leaves(after).items() if leaf is not old.get(path)}


def gathered(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Gather paths to the parts that they make up → source → parts, those of random numbers last.

    A part with several sources is called "the rest of" it where most of it comes from, and elsewhere by what it is of
    it, with * for the numbers of layers.
    """
    by_part: dict[str, dict[str, list[str]]] = {}
    for path, source in sources.items():
        by_part.setdefault(path.split("/")[0], {}).setdefault(source, []).append(path)
    found: dict[str, list[str]] = {}
    for part, of_part in sorted(by_part.items()):
        most = max(of_part, key=lambda source: len(of_part[source]))
        for source, paths in of_part.items():
            if source != most:
                owners = {re.sub(r"_\d+", "_*", path.rpartition("/")[0] or path) for path in paths}
                found.setdefault(source, []).extend(sorted(owners))
            else:
                found.setdefault(source, []).append(part if len(of_part) == 1 else f"the rest of {part}")
    return dict(sorted(found.items(), key=lambda item: item[0] == RANDOM))
