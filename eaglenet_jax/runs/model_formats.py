"""A trained model as it is stored: a work directory, an exported folder, or a Hugging Face CLIP."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.load import WEIGHT_FILES, load_clip
from eaglenet_jax.registry import head_class
from eaglenet_jax.runs.export import PARAMETER_FILE, SHIPPED, exported_folder, read_export, suggest_model
from eaglenet_jax.runs.initial_parameters import check_shapes
from eaglenet_jax.runs.workdir import CHECKPOINTS, has_checkpoints, load_checkpoint
from eaglenet_jax.system import build_system

DEMO = "demo"
DEMO_MODEL = SHIPPED[DEMO]
CLIP_FRAMES = 12  # of a video, for a CLIP that was trained on pictures alone

# The part of a config that says how a text and a video are encoded and scored.
SETTINGS = ("name", "system", "preset", "clip", "head", "max_words", "max_frames")


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """A model as it is stored.

    Attributes:
        settings: As `model_settings`.
        params: {"clip": …, "head": …}, NumPy arrays as stored, whose shapes fit the settings.
        source: The absolute folder, "demo", or a name on the hub.
    """

    settings: Mapping[str, Any]
    params: Any
    source: str

    @property
    def identity(self) -> str:
        """The system's name and a hash that changes with anything that changes features or scores."""
        computed = {name: value for name, value in self.settings.items() if name not in ("name", "preset")}
        digest = hashlib.blake2b(json.dumps(computed, sort_keys=True).encode(), digest_size=6)
        for name, leaf in sorted(traverse_util.flatten_dict(self.params, sep="/").items()):
            values = np.ascontiguousarray(leaf, np.float32)
            digest.update(f"{name} {values.shape}".encode())
            digest.update(values.tobytes())
        return f"{self.settings['system']}-{digest.hexdigest()}"


def read_model(source: str | os.PathLike[str]) -> StoredModel:
    """Read a model from wherever it is stored.

    Args:
        source: A work directory, an exported folder, "demo", or a Hugging Face CLIP, see `eaglenet_jax.load`.

    Returns:
        Settings and parameters.

    Raises:
        UserError: The source is none of these, cannot be read, or its parameters do not fit its settings.
    """
    if not isinstance(source, str | os.PathLike):
        raise UserError(f"a model is loaded from a folder or a name, not from {source!r}; see eaglenet_jax.load")
    folder = exported_folder(source) or Path(source)
    if has_checkpoints(folder):
        settings, params = read_workdir(folder)
    elif (folder / PARAMETER_FILE).is_file():
        settings, params = read_export(folder)
    elif folder.is_dir() and not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise UserError(
            f"{folder} holds no model: neither a run's {CHECKPOINTS}, nor an exported {PARAMETER_FILE}, nor the "
            f"{WEIGHT_FILES[0]} of a Hugging Face CLIP; give a folder that does"
        )
    else:
        with suggest_model(source):
            try:
                settings, params = _clip_alone(str(source))
            except UserError as error:
                if folder.exists() or len(folder.parts) == 1 or not folder.parent.is_dir():
                    raise
                raise UserError(  # runs/nope could be a name on the hub, but was a place here
                    f"there is no {source}; give a work directory of a run, a folder of search export, or a Hugging "
                    "Face CLIP by folder or name"
                ) from error
    check_shapes(build_system(settings).shapes(), params, str(source))
    shipped = next((name for name, place in SHIPPED.items() if folder == place), "")
    where = str(folder.absolute()) if folder.exists() else str(source)
    return StoredModel(settings, params, shipped or where)


def model_settings(config: Any, fps: float = 1.0, sampling: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Take the settings of a model from a run's config.

    Args:
        config: A resolved config, or its saved form.
        fps: Frames a second of the data that it was trained on.
        sampling: "first_seconds", "timestamps" and "as_shown" of those data (data/decode.py: `Sampling`), where they
            were set.

    Returns:
        What JSON can hold: the fields of `SETTINGS`, noise and seed of evaluation, and how frames are sampled.
    """
    plain = as_plain(config)
    evaluation = {name: plain["evaluation"][name] for name in ("noise", "seed")}
    return {**{name: plain[name] for name in SETTINGS}, "evaluation": evaluation, "fps": fps, **(sampling or {})}


def read_workdir(folder: Path) -> tuple[dict[str, Any], Any]:
    """Read settings and parameters of a run's best checkpoint."""
    loaded = load_checkpoint(folder)
    # Older runs did not note the rate: the demo's config has it, other data have one frame a second by default.
    fps = loaded.config.data.get("fps", 1.0) if loaded.fps is None else loaded.fps
    return model_settings(loaded.config, fps, loaded.sampling), loaded.params


def _clip_alone(source: str) -> tuple[dict[str, Any], Any]:
    clip, params, logit_scale = load_clip(source)
    settings = {
        "name": Path(source).name,
        "system": "clip4clip",
        "preset": "ours",
        "clip": as_plain(dataclasses.asdict(clip)),
        "head": head_class("clip4clip").options(),
        "max_words": clip.context_length,
        "max_frames": CLIP_FRAMES,
        "evaluation": {"noise": "per_text", "seed": 0},
        "fps": 1.0,
        "timestamps": True,
        "as_shown": True,
    }
    return settings, {"clip": params["clip"], "head": {"matching_loss": {"logit_scale": np.reshape(logit_scale, ())}}}
