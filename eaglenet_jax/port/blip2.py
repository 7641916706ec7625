"""Initialisation of CrossTVR's query transformer from a BLIP-2 checkpoint in Hugging Face's format.

Blip2ForImageTextRetrieval (Salesforce/blip2-itm-vit-g) has all of it, with the networks of the words and the match
classifier; Blip2Model and Blip2ForConditionalGeneration lack these two, which then keep their random start, as do the
keys and values of the cross-attention if the vision encoder has another width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_tensors
from eaglenet_jax.port.table import Rule, Table, Tree, rule, to_flax
from eaglenet_jax.port.transforms import LINEAR, Transform

PARTS = ("qformer.", "query_tokens", "itm_head.")
INDEX_FILE, WEIGHT_FILE, CONFIG_FILE = "model.safetensors.index.json", "model.safetensors", "config.json"
# Our field → Hugging Face's field and transformers' default.
SHAPE_FIELDS = {
    "width": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "cross_every": ("cross_attention_frequency", 2),
}

# [1, queries, w] ↔ [queries, w].
_FIRST = Transform(lambda sources, _: [sources[0][0]], lambda targets: [targets[0][None]])


def _linear(source: str, target: str) -> tuple[Rule, Rule]:
    return rule(f"{source}.weight", f"{target}/kernel", LINEAR), rule(f"{source}.bias", f"{target}/bias")


def _norm(source: str, target: str) -> tuple[Rule, Rule]:
    return rule(f"{source}.weight", f"{target}/scale"), rule(f"{source}.bias", f"{target}/bias")


def _attention(source: str, target: str) -> tuple[Rule, ...]:
    projections = (_linear(f"{source}.attention.{name}", f"{target}/{name}") for name in ("query", "key", "value"))
    output = _linear(f"{source}.output.dense", f"{target}/output")
    return (
        *(rule for pair in projections for rule in pair),
        *output,
        *_norm(f"{source}.output.LayerNorm", f"{target}/norm"),
    )


def _feed(end: str, source: str, target: str) -> tuple[Rule, ...]:
    return (
        *_linear(f"{source}.intermediate{end}.dense", f"{target}/up"),
        *_linear(f"{source}.output{end}.dense", f"{target}/down"),
        *_norm(f"{source}.output{end}.LayerNorm", f"{target}/norm"),
    )


_LAYER = "qformer.encoder.layer.{i}"
BLIP2 = Table(
    "BLIP-2",
    (
        rule("query_tokens", "query_tokens", _FIRST),
        *_norm("qformer.layernorm", "embedding_norm"),
        *_attention(f"{_LAYER}.attention", "layers/self_attention_{i}"),
        *_attention(f"{_LAYER}.crossattention", "layers/cross_attention_{i}"),
        *_feed("_query", _LAYER, "layers/query_feed_{i}"),
        *_feed("", _LAYER, "layers/word_feed_{i}"),
        *_linear("itm_head", "classifier"),
    ),
    # The words of the last layer are not read; a vision encoder of another width has keys and values of its own.
    unused=(
        *(f"{_LAYER}.{part}.*" for part in ("intermediate.dense", "output.dense", "output.LayerNorm")),
        *(f"{_LAYER}.crossattention.attention.{part}.*" for part in ("key", "value")),
    ),
)


def start_from_blip2(head: Tree, shape: Any, source: str) -> Tree:
    """Replace CrossTVR's parameters by those of a BLIP-2 checkpoint, strictly except for the parts named above.

    Args:
        head: Parameters of CrossTVR.
        shape: Its `QueryShape`.
        source: A folder with config.json and model.safetensors (or its shards).

    Returns:
        All parameters of CrossTVR.

    Raises:
        UserError: The folder holds no BLIP-2, or one that does not fit.
    """
    folder = Path(source)
    _check_shape(folder / CONFIG_FILE, shape)
    tensors = _query_transformer(folder)
    parts = ("query_tokens", "embedding_norm", "layers", "classifier")
    wanted = traverse_util.flatten_dict({name: head[name] for name in parts}, sep="/")
    words = any(".intermediate.dense." in name for name in tensors)
    kept = {
        path
        for path in wanted
        if ("word_feed" in path and not words)
        or (path.startswith("classifier") and "itm_head.weight" not in tensors)
        or _reads_other_tokens(path, wanted, tensors)
    }
    expected = {path: leaf for path, leaf in wanted.items() if path not in kept}
    loaded = to_flax(BLIP2, tensors, traverse_util.unflatten_dict(expected, sep="/"))
    flat = wanted | traverse_util.flatten_dict(loaded, sep="/")
    started = {**head, **traverse_util.unflatten_dict(flat, sep="/")}
    if "temporal_layers" in head:  # copies, so that both can be donated to a step
        started["temporal_layers"] = {
            name: jax.tree.map(np.array, started["layers"][name]) for name in head["temporal_layers"]
        }
    return started


def _reads_other_tokens(path: str, wanted: Tree, tensors: dict[str, np.ndarray]) -> bool:
    """Return whether a path is keys or values of a cross-attention for tokens of another width than the file's."""
    _, block, part, *_ = [*path.split("/"), "", ""]
    if not block.startswith("cross_attention_") or part not in ("key", "value"):
        return False
    source = f"{_LAYER.format(i=block.removeprefix('cross_attention_'))}.crossattention.attention.{part}.weight"
    return source in tensors and tensors[source].shape[1] != wanted[f"layers/{block}/{part}/kernel"].shape[0]


def _check_shape(file: Path, shape: Any) -> None:
    try:
        written = json.loads(file.read_text())["qformer_config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} describes no BLIP-2 ({type(error).__name__}); give the folder of one") from error
    different = [
        f"{field} is {written.get(field, default)}, config.head.transformer.{name} is {getattr(shape, name)}"
        for name, (field, default) in SHAPE_FIELDS.items()
        if written.get(field, default) != getattr(shape, name)
    ]
    if different:
        raise UserError(f"{file}: {'; '.join(different)}; set config.head.transformer to the checkpoint's sizes")


def _query_transformer(folder: Path) -> dict[str, np.ndarray]:
    """Read the tensors of the query transformer, from one file or several."""
    files = [WEIGHT_FILE]
    if (folder / INDEX_FILE).is_file():
        places = json.loads((folder / INDEX_FILE).read_text())["weight_map"]
        files = sorted({file for name, file in places.items() if name.startswith(PARTS)})
    found = {name: value for file in files for name, value in read_tensors(folder / file).items()}
    return {name: value for name, value in found.items() if name.startswith(PARTS)}
