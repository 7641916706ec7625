"""Many runs under one folder: rows of configs times seeds, first stages shared, their comparison at the end."""

from __future__ import annotations

import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eaglenet_jax.config.loading import config_hash, load_config, resolve
from eaglenet_jax.config.overrides import check_used
from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.reports.runs_table import compare
from eaglenet_jax.reports.runs_text import comparison_text, write_comparisons
from eaglenet_jax.reports.stage_results import StageResult
from eaglenet_jax.runs.collect import family_hash, labelled_stages
from eaglenet_jax.runs.data_name import named_after_data
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.runs.saved_config import FIRST_STAGES
from eaglenet_jax.runs.train import train_run

Row = tuple[str, str]  # (label in the table, config with its argument)


def expand(configs: Sequence[str]) -> list[Row]:
    """The rows of a table; an ablation (configs/ablations/) whose argument names no row stands for all its rows.

    Raises UserError for a config that is not there.
    """
    rows: list[Row] = []
    for config in configs:
        file, _, argument = resolve(config).partition(":")
        names = _rows_of(file)
        words = [word.strip() for word in argument.split(",") if word.strip()]
        if names and not set(words) & set(names):
            # Several tables may have rows of one name.
            table = f"{_label(config)} " if len(configs) > 1 else ""
            rows += [(table + name, f"{file}:{','.join([name, *words])}") for name in names]
        else:
            rows.append((_label(config), config))
    return rows


def _rows_of(file: str) -> list[str]:
    """Names of the rows that an ablation's file lists as ROWS; none for any other config."""
    try:
        return list(runpy.run_path(file).get("ROWS", {}))
    except (SyntaxError, ImportError, NameError) as error:
        raise UserError(f"--config={file}: {first_line(error)}") from error


def _label(config: str) -> str:
    path, _, argument = config.partition(":")
    return " ".join(filter(None, [Path(path).stem, argument.replace(",", " ")]))


def default_folder(configs: Sequence[str]) -> Path:
    """runs/sweep_ and the names of the configs."""
    names = dict.fromkeys(re.sub(r"\W+", "_", _label(config)) for config in configs)
    return Path("runs") / "_".join(["sweep", *names])


def run_sweep(
    rows: Sequence[Row], seeds: Sequence[int], workdir: Path, overrides: Sequence[str] = ()
) -> tuple[str, Path]:
    """Trains every row with every seed → (comparison on the test split, the file that holds it as markdown).

    A first stage that several runs share is trained once a seed, in a folder of its own, and has a row above theirs,
    unless one of `rows` is the same config. Finished runs are not trained again. Every config is checked before the
    first is trained. Raises UserError and Stopped as `train_run`.
    """
    planned = [
        (label, seed, named_after_data(load_config(config, [*overrides, f"--config.seed={seed}"], shared=True)))
        for label, config in rows
        for seed in seeds
    ]
    check_used(overrides, [config for _, _, config in planned])
    folders = [(re.sub(r"\W+", "_", label), seed) for label, seed, _ in planned]
    if len(set(folders)) < len(folders):
        raise UserError("two rows of the sweep have the same name; give every --config once")
    for _, _, config in planned:
        plan_run(config, workdir)
    found: dict[str, list[StageResult]] = {}
    stages: dict[str, dict[str, StageResult]] = {}  # by what all seeds have in common, by folder
    for number, (label, seed, config) in enumerate(planned, start=1):
        print(f"\n[{number}/{len(planned)}] {label}, seed {seed}", flush=True)
        folder = workdir / re.sub(r"\W+", "_", label) / f"seed_{seed}"
        config, earlier = _on_shared_stage(config, workdir)
        for family, result in earlier:
            stages.setdefault(family, {})[result.workdir] = result
        found.setdefault(label, []).append(train_run(config, folder)[-1])
    own_rows = {family_hash(config) for _, _, config in planned}
    before = [list(by_folder.values()) for family, by_folder in stages.items() if family not in own_rows]
    comparison = compare([*labelled_stages(before), *found.items()], "test")
    file = workdir / "table.md"
    if jax.process_index() == 0:
        write_comparisons(file, [comparison], workdir.name, "test")
    return comparison_text(comparison), file


def _on_shared_stage(config: ConfigDict, workdir: Path) -> tuple[ConfigDict, list[tuple[str, StageResult]]]:
    """Trains the stages before a run where no other run has done it → (the config on top of the last, their results).

    Each result comes with the `family_hash` of its config.
    """
    if not config.first_stage:
        return config, []
    stage: Any
    stage, results = _on_shared_stage(config.first_stage, workdir)  # which may have a stage before it as well
    folder = workdir / FIRST_STAGES / f"{stage.name}_{config_hash(stage)}"
    results = [*results, (family_hash(config.first_stage), train_run(stage, folder)[-1])]
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.first_stage = ConfigDict({})
    config.init_from = str(folder.absolute())
    return config, results
