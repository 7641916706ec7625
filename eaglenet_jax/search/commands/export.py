"""`search export`: write a run's best checkpoint as a small folder to share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.export import PARAMETER_FILE, model_card, write_export
from eaglenet_jax.runs.model_formats import read_workdir
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import RESULT_FILE
from eaglenet_jax.search.model import open_model


def run(given: argparse.Namespace) -> int:
    """Write the folder and open it again as a check."""
    workdir, out = Path(given.workdir), Path(given.out)
    settings, params = read_workdir(workdir)
    config = saved_config(workdir)
    flags = f" --dtype={given.dtype}" + (" --own-words" if given.own_words else "")
    command = f"python -m eaglenet_jax.search export --workdir={workdir.name} --out={out.name}{flags}"
    try:
        metrics: Any = json.loads((workdir / RESULT_FILE).read_text())
    except (OSError, ValueError):
        metrics = {}
    training = given.how or (
        f"Trained by `python -m eaglenet_jax.train` on {config.data.dataset}: {config.steps or config.epochs} "
        f"{'updates' if config.steps else 'epochs'} of batches of {config.batch_size}, seed {config.seed}, started "
        f"from {_start(config)}. The config is in the run's `config.json`."
    )
    vocabulary = _own_words(config) if given.own_words else None
    write_export(out, settings, params, model_card(settings, metrics, command, training), given.dtype, vocabulary)
    model = open_model(out)
    print(f"{out}: {model.identity}, {(out / PARAMETER_FILE).stat().st_size / 1e6:.1f} MB")
    return 0


def _start(config: Any) -> str:
    """Describe the initial parameters of a run, without folders of this machine."""
    if config.first_stage:
        return f"a first stage of {config.first_stage.steps} updates with {config.first_stage.system}"
    return f"`{Path(config.init_from).name}`" if config.init_from else "random parameters"


def _own_words(config: Any) -> set[int]:
    """Return the token codes of the training captions, start and end token included."""
    experiment = open_experiment(config)
    tokens = experiment.tokenizer.tokenize(experiment.dataset.split("train").captions.texts)
    return {int(code) for code in set(tokens.ravel().tolist())}
