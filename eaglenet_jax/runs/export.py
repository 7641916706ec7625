"""A trained model as a small folder to share: settings, parameters and a model card."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.port.files import read_tensors, write_tensors
from eaglenet_jax.runs.saved_config import with_older_options

PARAMETER_FILE = "parameters.safetensors"
SETTINGS_FILE = "config.json"
CARD_FILE = "README.md"
FORMAT = 1
VOCABULARY = "clip/text/token_embedding"
# A table of which most rows are zero is stored as the numbers of its other rows and these.
ROWS, VALUES = "@rows", "@values"


# Exported models that come with the package, by the name that a source may have.
_SHIPPED_FOLDER = Path(__file__).parents[1] / "shipped"
SHIPPED = {name: _SHIPPED_FOLDER / name for name in ("demo", "moving_shapes_clip")}


def exported_folder(source: str | os.PathLike[str]) -> Path | None:
    """Return the folder of the exported model that `source` names, one of `SHIPPED` or a path; None if it is no such.

    A folder of that name in the working directory comes before a shipped model.
    """
    folder = Path(source)
    if not folder.exists():
        folder = SHIPPED.get(str(source), folder)
    return folder if (folder / PARAMETER_FILE).is_file() else None


@contextlib.contextmanager
def suggest_model(source: str | os.PathLike[str]) -> Iterator[None]:
    """Add the nearest name to a UserError about a model that is not there: a shipped one or a folder beside it."""
    try:
        yield
    except UserError as error:
        folder = Path(source)
        if near := near_path(folder, SHIPPED if len(folder.parts) == 1 else (), folders=True):
            raise UserError(f"{error}{near}") from error
        raise


def write_export(
    folder: Path, settings: Mapping[str, Any], params: Any, card: str, dtype: str, vocabulary: Collection[int] | None
) -> None:
    """Writes the folder. dtype: of the stored parameters. vocabulary: token codes whose embeddings are kept; the others
    become zero, so that a word which a model trained from nothing has never seen adds nothing instead of noise. None:
    all. UserError where a parameter does not fit into `dtype`.
    """
    flat = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    if vocabulary is not None:
        known = np.zeros(len(flat[VOCABULARY]), bool)
        known[list(vocabulary)] = True
        flat[VOCABULARY] = np.where(known[:, None], flat[VOCABULARY], 0)
    tensors: dict[str, np.ndarray] = {}
    for name, values in flat.items():
        stored = values.astype(dtype)
        if not np.isfinite(stored).all():
            raise UserError(f"parameter {name} does not fit into {dtype}; export it with --dtype=float32")
        tensors |= _sparse(name, stored)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / PARAMETER_FILE, tensors)
    write_atomically(folder / SETTINGS_FILE, json.dumps({"format": FORMAT, **settings}, indent=1).encode() + b"\n")
    write_atomically(folder / CARD_FILE, card.encode())


def read_export(folder: Path) -> tuple[dict[str, Any], Any]:
    """Settings and parameters (as stored) of a folder that `write_export` wrote. UserError for one that is not."""
    file = folder / SETTINGS_FILE
    try:
        settings = json.loads(file.read_text())
        found = settings.pop("format")
        rows, width = settings["clip"].get("vocab_size", 49408), settings["clip"].get("text_width")
        # The options alone that are needed: with today's defaults a model would have another identity.
        settings["head"] = with_older_options(settings["system"], settings["head"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{file} is missing or damaged; write {folder} again with `search export`") from error
    if found != FORMAT:
        raise UserError(
            f"{folder} has format {found}, this program reads {FORMAT}; write it again with `search export`"
        )
    tensors = read_tensors(folder / PARAMETER_FILE)
    flat = {name: values for name, values in tensors.items() if not name.endswith((ROWS, VALUES))}
    if VOCABULARY + ROWS in tensors:
        try:
            values = tensors[VOCABULARY + VALUES]
            table = np.zeros((rows, width or values.shape[1]), values.dtype)
            table[tensors[VOCABULARY + ROWS]] = values
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(
                f"{folder / PARAMETER_FILE} has a damaged {VOCABULARY}; write {folder} again with `search export`"
            ) from error
        flat[VOCABULARY] = table
    return settings, traverse_util.unflatten_dict(flat, sep="/")


def _sparse(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if name != VOCABULARY:
        return {name: values}
    rows = np.flatnonzero(values.any(axis=1))
    if 2 * len(rows) > len(values):
        return {name: values}
    return {name + ROWS: rows.astype(np.int32), name + VALUES: values[rows]}


def model_card(settings: Mapping[str, Any], metrics: Mapping[str, Any], command: str, training: str) -> str:
    """A README for the folder. metrics: of metrics.json, by split. command: what wrote it. training: the command or the
    words that say how it was trained.
    """
    rows = [
        f"| {split} | {values['t2v']['R@1']:.1f} | {values['t2v']['R@5']:.1f} | {values['t2v']['R@10']:.1f} | "
        f"{values['v2t']['R@1']:.1f} | {values['t2v']['queries']} |"
        for split, values in metrics.items()
        if split != "run" and "t2v" in values
    ]
    table = ["| split | t2v R@1 | t2v R@5 | t2v R@10 | v2t R@1 | queries |", "|---|---|---|---|---|---|", *rows]
    clip = settings["clip"]
    return "\n".join(
        [
            f"# {settings['name']}",
            "",
            f"System `{settings['system']}`, preset `{settings['preset']}`: {settings['max_frames']} frames of a "
            f"window at {settings['fps']:g} frames a second, {settings['max_words']} token codes of a query, pictures "
            f"of {clip.get('image_size') or clip.get('name')} pixels.",
            "",
            "## How it was made",
            "",
            f"{training}",
            "",
            f"Written by `{command}`.",
            "",
            "## What it reaches",
            "",
            *(table if rows else ["No metrics were found next to the checkpoint."]),
            "",
            "In percent, as the run measured itself on its own data, before parameters were rounded for this folder.",
            "",
            "## What it is for",
            "",
            "`python -m eaglenet_jax.search index VIDEOS --index=FOLDER --checkpoint=THIS_FOLDER`. It has seen the "
            "videos and sentences of its training data and nothing else: measure what it makes of others.",
            "",
        ]
    )
