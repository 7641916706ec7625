"""Parameters before the first step: random, of a pre-trained CLIP, or of the best checkpoint of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip.config import COMPUTATION, ClipConfig
from eaglenet_jax.errors import UserError, listed
from eaglenet_jax.port.blip2 import start_from_blip2
from eaglenet_jax.port.hf_clip import config_from_hf
from eaglenet_jax.port.load import HUB_NAME, clip_files, is_cached, load_clip
from eaglenet_jax.runs.export import exported_folder, read_export, suggest_model
from eaglenet_jax.runs.workdir import checkpoint_record, has_checkpoints, load_checkpoint
from eaglenet_jax.system import System, build_clip_config, build_system


def initial_parameters(system: System, source: str, seed: int) -> Any:
    """Make the parameters of a system before its first step.

    source: "" for random ones; a work directory of ours, whose best checkpoint gives the CLIP and, for the same
    system, the head; likewise an exported model, as folder or name of `export.SHIPPED`; else a Hugging Face CLIP as
    folder or name. Raises UserError for a CLIP of another size and what cannot be read.
    """
    key = jax.random.key(seed)
    if not source:
        params = dict(system.init(key))
        params["head"] = system.head.start_from_files(params["head"], {"blip2": start_from_blip2})
        return params
    head_params = system.head.start_from_files(system.init_head(key), {"blip2": start_from_blip2})
    ours = _trained_model(source)
    if ours is not None:
        settings, trained = ours
        _check_clip(system, build_clip_config(settings["clip"]), source)
        head = build_system(settings).head
        logit_scale, clip = head.clip_logit_scale(trained["head"]), {"clip": trained["clip"]}
    else:
        clip_config, clip_params, logit_scale = load_clip(source)
        _check_clip(system, clip_config, source)
        clip = dict(clip_params)
    expected = system.shapes()
    # Float32, whatever type they were stored in, and before the head copies any of them.
    loaded = _fitting(expected, clip, source)
    head_params = system.head.start_from_clip(head_params, loaded["clip"], logit_scale)
    if ours is not None:
        started = system.head.start_from_head(head_params, head, trained["head"])
        if started is not None:
            head_params = _fitting(expected, {"head": started}, source)["head"]
    return {"head": head_params, **loaded}


def _fitting(expected: Any, found: dict[str, Any], source: str) -> dict[str, Any]:
    """Convert what a source gives to float32. Raises UserError where shapes are not those expected."""
    check_shapes({name: expected[name] for name in found}, found, f"init_from={source}")
    return jax.tree.map(as_float32, found)


def as_float32(leaf: Any) -> jax.Array:
    """Put a parameter of any type on the device. Converted before that, where each shape would be a program."""
    return jnp.asarray(leaf if isinstance(leaf, jax.Array) else np.asarray(leaf, np.float32), jnp.float32)


def check_source(system: System, shapes: Any, source: str) -> None:
    """Check what `initial_parameters` would start from, as far as that is possible without its arrays.

    Args:
        system: As for `initial_parameters`.
        shapes: Of its parameters, a tree of `jax.ShapeDtypeStruct`.
        source: A work directory, a folder with a CLIP, or a name on the hub. A name is accepted as it is.

    Raises:
        UserError: There is no such folder, or it cannot be read, or its CLIP or head does not fit.
    """
    folder, exported = Path(source), exported_folder(source)
    if has_checkpoints(folder) or exported is not None:
        settings = checkpoint_record(folder).config if exported is None else read_export(exported)[0]
        _check_clip(system, build_clip_config(settings["clip"]), source)
        other = build_system(settings)
        given = other.shapes()["head"]
        started = system.head.start_from_head(shapes["head"], other.head, given)
        if started is not None:
            check_shapes(shapes["head"], started, f"init_from={source}")
    elif folder.is_dir() or not HUB_NAME.fullmatch(source):
        _check_clip(system, config_from_hf(_clip_files(source)[0]), source)


def fetch_source(source: str) -> None:
    """Download the files of a name on the hub that `initial_parameters` would start from, where they are not there yet.

    Raises UserError where the hub cannot be reached or has none.
    """
    if _is_on_hub(source):
        _clip_files(source)


def needs_download(source: str) -> bool:
    """Return whether `initial_parameters` would start from weights of the hub that are not on this machine yet."""
    return _is_on_hub(source) and not is_cached(source)


def _is_on_hub(source: str) -> bool:
    return bool(HUB_NAME.fullmatch(source)) and not Path(source).is_dir() and exported_folder(source) is None


def source_clip(source: str) -> ClipConfig | None:
    """Read the sizes of the CLIP that a run starts from; None for random parameters and for a name on the hub.

    source: as for `initial_parameters`. Raises UserError for a folder that holds none.
    """
    if not source:
        return None
    if has_checkpoints(Path(source)):
        return build_clip_config(checkpoint_record(Path(source)).config["clip"])
    exported = exported_folder(source)
    if exported is not None:
        return build_clip_config(read_export(exported)[0]["clip"])
    if Path(source).is_dir() or not HUB_NAME.fullmatch(source):
        return config_from_hf(_clip_files(source)[0])
    return None


def _clip_files(source: str) -> tuple[Path, Path]:
    with suggest_model(source):
        return clip_files(source)


def _trained_model(source: str) -> tuple[Any, Any] | None:
    """Read settings and parameters of a work directory or an exported model; None for anything else."""
    if has_checkpoints(Path(source)):
        loaded = load_checkpoint(Path(source))
        return loaded.config, loaded.params
    exported = exported_folder(source)
    return None if exported is None else read_export(exported)


def _check_clip(system: System, found: Any, source: str) -> None:
    """How it computes may differ; the sizes may not."""
    wanted = system.clip.config
    different = [
        f"{name} is {getattr(found, name)} there and {getattr(wanted, name)} in config.clip"
        for name in wanted.__dataclass_fields__
        if name not in COMPUTATION and getattr(found, name) != getattr(wanted, name)
    ]
    if different:
        raise UserError(f"init_from={source}: another CLIP: {'; '.join(different)}")


def check_shapes(expected: Any, found: Any, what: str) -> None:
    """Raise a UserError that begins with `what` and lists missing, extra and misshaped parameters."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}

    wanted, given = shapes(expected), shapes(found)
    wrong = [
        f"{name} {given.get(name, 'missing')} instead of {wanted.get(name, 'nothing')}"
        for name in sorted(wanted.keys() | given.keys())
        if wanted.get(name) != given.get(name)
    ]
    if wrong:
        raise UserError(f"{what}, {len(wrong)} parameters do not fit: {listed(wrong, separator='; ')}")
