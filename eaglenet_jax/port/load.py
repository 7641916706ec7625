"""Loading and saving a CLIP in Hugging Face's format: a folder, or a name on the hub."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.clip.parameters import clip_shapes
from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.port.files import read_checkpoint, write_tensors
from eaglenet_jax.port.hf_clip import HF_CLIP, config_from_hf, config_to_hf
from eaglenet_jax.port.shards import INDEX, shard_files, weight_map
from eaglenet_jax.port.table import LOGIT_SCALE, Table, Tensors, Tree, to_flax, to_pytorch

CONFIG_FILE = "config.json"
# A later one only where there is no earlier one: .bin needs PyTorch.
WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
LARGE_FILE = 10_000_000  # bytes, of whose download a line says so first
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def to_stderr(line: str) -> None:
    """Print a line for the user."""
    print(line, file=sys.stderr, flush=True)


def load_clip(source: str | Path) -> tuple[ClipConfig, Tree, np.ndarray]:
    """Load the CLIP in a Hugging Face folder or under a hub name.

    The hub is asked only for files that its local cache lacks. Where the tensors had to be found in the file, by a key
    or under a prefix, a line on standard error says so.

    Args:
        source: Folder or hub name.

    Returns:
        (config, params {"clip": …}, logit scale). The logit scale is the logarithm that CLIP learned, float32 []; heads
        have their own and may start from it.

    Raises:
        UserError: The source does not exist or does not fit.
    """
    config_file, weight_file = clip_files(str(source))
    config = config_from_hf(config_file)
    try:
        tensors, notes = read_checkpoint(weight_file)
        params, logit_scale = clip_from_tensors(HF_CLIP, tensors, config)
    except UserError as error:
        raise UserError(f"{weight_file}: {error}") from error
    if notes:
        to_stderr(f"{weight_file}: {'; '.join(notes)}")
    return config, params, logit_scale


def save_clip(folder: Path, config: ClipConfig, params: Tree, logit_scale: np.ndarray) -> None:
    """Write encoders as a Hugging Face folder, which `load_clip` and transformers read. Token shift is not recorded."""
    tensors = to_pytorch(HF_CLIP, {"clip": params["clip"], **_at_logit_scale(logit_scale)})
    write_tensors(folder / WEIGHT_FILES[0], tensors)
    (folder / CONFIG_FILE).write_text(json.dumps(config_to_hf(config), indent=1) + "\n")


def clip_from_tensors(table: Table, tensors: Tensors, config: ClipConfig) -> tuple[Tree, np.ndarray]:
    """Convert tensors of one of the CLIP tables, strictly.

    Returns:
        (params {"clip": …}, logit scale).

    Raises:
        UserError: Lists every name that is missing, left over or of another shape.
    """
    scalar = _at_logit_scale(jax.ShapeDtypeStruct((), jnp.float32))
    tree = to_flax(table, tensors, {"clip": clip_shapes(Clip(config)), **scalar})
    (logit_scale,) = jax.tree.leaves(tree["head"])
    return {"clip": tree["clip"]}, logit_scale


def _at_logit_scale(leaf: Any) -> Tree:
    return traverse_util.unflatten_dict({LOGIT_SCALE: leaf}, sep="/")


def clip_files(source: str) -> tuple[Path, Path]:
    """Find config.json and the file of weights in a folder or under a hub name.

    Raises:
        UserError: They do not exist, or the hub cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        for name in WEIGHT_FILES:
            if (folder / CONFIG_FILE).is_file() and (folder / name).is_file():
                return folder / CONFIG_FILE, folder / name
        raise UserError(
            f"{folder} holds no CLIP: it needs {CONFIG_FILE} and {WEIGHT_FILES[0]}, as save_pretrained writes"
        )
    if folder.exists():
        raise UserError(f"{source} is a file; give the folder that holds it")
    if not HUB_NAME.fullmatch(source):
        raise UserError(f"{source}: no such folder; give a Hugging Face CLIP's folder or a hub name like openai/clip-…")
    weights = hub_file(source, *WEIGHT_FILES)
    if weights.name.endswith(INDEX):
        for name in sorted(set(weight_map(weights).values())):
            hub_file(source, name)
    return hub_file(source, CONFIG_FILE), weights


def is_cached(source: str) -> bool:
    """Return whether the weights of a name on the hub are on this machine, so that none is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = [file for name in WEIGHT_FILES if isinstance(file := try_to_load_from_cache(source, name), str)]
        return bool(found) and (not found[0].endswith(INDEX) or bool(shard_files(Path(found[0]))))
    except (ValueError, UserError):  # no name that the hub can have; shards that are missing
        return False


def hub_file(source: str, *names: str, report: Callable[[str], None] = to_stderr) -> Path:
    """Return the first of the files that the local cache or the hub has.

    Args:
        source: Name on the hub.
        names: The files.
        report: Receives a line before a large file is downloaded.

    Raises:
        UserError: None of them is in the cache, and the hub has none or cannot be reached.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

    reason: Exception = LookupError()
    for name in names:
        try:
            return Path(hf_hub_download(source, name, local_files_only=True))
        except (OSError, ValueError):  # EntryNotFoundError is one of them, by version
            continue
    for name in names:
        try:
            # Without a connection the download itself tries six times, with two warnings each; this asks once.
            size = get_hf_file_metadata(hf_hub_url(source, name)).size or 0
            if size > LARGE_FILE:
                report(f"downloading {name} of {source}, {size / 1e6:,.0f} MB, once: to {constants.HF_HUB_CACHE}")
            return Path(hf_hub_download(source, name))
        except EntryNotFoundError as error:
            reason = error
        except Exception as error:  # offline, no such repository, no right to read it; of httpx or httpx2, by version
            reason = error
            break
    # The text of OfflineModeIsEnabled says it in three sentences with the address.
    detail = "HF_HUB_OFFLINE is set" if isinstance(reason, OfflineModeIsEnabled) else first_line(reason)
    raise UserError(
        f"{source}: no such folder, and {names[0]} cannot be read from the Hugging Face hub ({detail}); "
        "give the folder of a downloaded CLIP or, for data of --size=48, moving_shapes_clip of this package"
    )
