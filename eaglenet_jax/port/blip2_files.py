"""Parts of a BLIP-2 checkpoint in Hugging Face's form: a folder or a name on the hub, in one file or several."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_parts, tensor_names
from eaglenet_jax.port.load import CONFIG_FILE, HUB_NAME, WEIGHT_FILES, hub_file
from eaglenet_jax.port.shards import INDEX, weight_map

EXAMPLE = "Salesforce/blip2-itm-vit-g"
QFORMER = ("qformer.", "query_tokens", "itm_head.")
VISION = ("vision_model.",)
# Nothing here reads these: the words are CLIP's, not BERT's word pieces, and there is neither a contrastive loss of the
# queries nor a language model.
OTHER_PARTS = ("embeddings.", "text_projection.", "vision_projection.", "language_model.", "language_projection.")


@dataclasses.dataclass(frozen=True)
class Blip2Files:
    """A checkpoint whose weights are not read yet.

    Attributes:
        source: Folder or name on the hub.
        config: Content of config.json.
        weights: File of the weights, or the index of several.
    """

    source: str
    config: Mapping[str, Any]
    weights: Path

    def sizes(self, part: str, fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
        """Read sizes of a part.

        Args:
            part: Of config.json, such as "vision_config".
            fields: Our name → (Hugging Face's name, transformers' default).
        """
        written = self.config[part]
        return {ours: written.get(theirs, default) for ours, (theirs, default) in fields.items()}

    def tensors(self, prefixes: tuple[str, ...], shapes_only: bool = False) -> dict[str, np.ndarray]:
        """Read the tensors whose names begin with one of `prefixes`, of the files that hold some.

        Args:
            prefixes: `QFORMER` or `VISION`.
            shapes_only: Zeros that take no memory, where the files are safetensors.

        Raises:
            UserError: A file is missing or damaged, or the checkpoint holds tensors of no part of BLIP-2.
        """
        self._check_parts()
        files = [self.weights]
        if self.weights.name.endswith(INDEX):
            places = weight_map(self.weights)
            names = sorted({file for name, file in places.items() if name.startswith(prefixes)})
            local = Path(self.source).is_dir()
            files = [self.weights.with_name(name) if local else hub_file(self.source, name) for name in names]
        parts = [read_parts(file, prefixes, shapes_only) for file in files]
        return {name: value for part in parts for name, value in part.items()}

    def _check_parts(self) -> None:
        known = (*QFORMER, *VISION, *OTHER_PARTS)
        extra = sorted(name for name in tensor_names(self.weights) if not name.startswith(known))
        if extra:
            raise UserError(
                f"{self.weights} holds {len(extra)} tensors of no part of BLIP-2, first {extra[0]}; give a checkpoint "
                f"that save_pretrained wrote, such as {EXAMPLE}"
            )


def open_blip2(source: str) -> Blip2Files:
    """Open a folder or a name on the hub; the hub is asked only for what its local cache lacks.

    Raises:
        UserError: It does not exist or holds no BLIP-2.
    """
    folder = Path(source)
    if folder.is_dir():
        found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
        if not found:
            raise UserError(f"{folder} holds no {WEIGHT_FILES[0]}, or its shards with their index; copy them too")
        return Blip2Files(source, _described(folder / CONFIG_FILE), found[0])
    if not HUB_NAME.fullmatch(source):
        raise UserError(f"{source}: no such folder; give that of a BLIP-2, or its name on the hub, like {EXAMPLE}")
    config = _described(hub_file(source, CONFIG_FILE))
    return Blip2Files(source, config, hub_file(source, *WEIGHT_FILES))


def is_blip2(source: str) -> bool:
    """Return whether a folder or a name on the hub describes a BLIP-2. False for what cannot be read."""
    folder = Path(source)
    try:
        if not folder.is_dir() and not HUB_NAME.fullmatch(source):
            return False
        return bool(_described(folder / CONFIG_FILE if folder.is_dir() else hub_file(source, CONFIG_FILE)))
    except UserError:
        return False


def _described(file: Path) -> dict[str, Any]:
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
        whole = {"vision_config": {}, "qformer_config": {}} | written  # transformers leaves out what is default
        if not written["model_type"].startswith("blip") or "qformer_config" not in written:
            raise ValueError("of another model")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} describes no BLIP-2 ({type(error).__name__}); give the folder of one") from error
    return whole
