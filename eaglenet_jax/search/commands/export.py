"""`search export`: write a run's best checkpoint as a small folder to share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eaglenet_jax.runs.card import workdir_card
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.export import PARAMETER_FILE, write_export
from eaglenet_jax.runs.model_formats import read_workdir
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.search.model import open_model


def run(given: argparse.Namespace) -> int:
    """Write the folder and open it again as a check."""
    workdir, out = Path(given.workdir), Path(given.out)
    settings, params = read_workdir(workdir)
    config = saved_config(workdir)
    flags = f" --dtype={given.dtype}" + (" --own-words" if given.own_words else "")
    command = f"python -m eaglenet_jax.search export --workdir={workdir.name} --out={out.name}{flags}"
    card = workdir_card(workdir, settings, command, given.how)
    vocabulary = _own_words(config) if given.own_words else None
    write_export(out, settings, params, card, given.dtype, vocabulary)
    model = open_model(out)
    print(f"{out}: {model.identity}, {(out / PARAMETER_FILE).stat().st_size / 1e6:.1f} MB")
    return 0


def _own_words(config: Any) -> set[int]:
    """Return the token codes of the training captions, start and end token included."""
    experiment = open_experiment(config)
    tokens = experiment.tokenizer.tokenize(experiment.dataset.split("train").captions.texts)
    return {int(code) for code in set(tokens.ravel().tolist())}
