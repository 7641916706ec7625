"""Initialisation of CrossTVR's query transformer from a BLIP-2 checkpoint in Hugging Face's form.

Strict: each tensor of the query transformer is used, or named in `table`. Blip2ForImageTextRetrieval
(Salesforce/blip2-itm-vit-g) has all of them; the other classes lack the networks of the words and the match classifier.
Keys and values of the cross-attention are taken if the second stage reads tokens as wide as those of BLIP-2's vision
encoder, and otherwise keep their random start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.blip2_files import EXAMPLE, QFORMER, Blip2Files, open_blip2
from eaglenet_jax.port.load import HUB_NAME
from eaglenet_jax.port.table import Rule, Table, Tensors, Tree, linear_rules, norm_rules, rule, to_flax
from eaglenet_jax.port.transforms import Transform

# Our field → Hugging Face's field and transformers' default.
SHAPE_FIELDS = {
    "width": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "cross_every": ("cross_attention_frequency", 2),
}
TOKEN_WIDTH = {"tokens": ("encoder_hidden_size", 1408)}  # what keys and values of the cross-attention read
PARTS = ("query_tokens", "embedding_norm", "layers", "classifier")  # of CrossTVR, which start from BLIP-2
_LAYER = "qformer.encoder.layer.{i}"

# [1, queries, w] ↔ [queries, w].
_FIRST = Transform(lambda sources, _: [sources[0][0]], lambda targets: [targets[0][None]])


def _attention(source: str, target: str) -> tuple[Rule, ...]:
    projections = (linear_rules(f"{source}.attention.{name}", f"{target}/{name}") for name in ("query", "key", "value"))
    return (
        *(rule for pair in projections for rule in pair),
        *linear_rules(f"{source}.output.dense", f"{target}/output"),
        *norm_rules(f"{source}.output.LayerNorm", f"{target}/norm"),
    )


def _feed(end: str, source: str, target: str) -> tuple[Rule, ...]:
    return (
        *linear_rules(f"{source}.intermediate{end}.dense", f"{target}/up"),
        *linear_rules(f"{source}.output{end}.dense", f"{target}/down"),
        *norm_rules(f"{source}.output{end}.LayerNorm", f"{target}/norm"),
    )


RULES = (
    rule("query_tokens", "query_tokens", _FIRST),
    *norm_rules("qformer.layernorm", "embedding_norm"),
    *_attention(f"{_LAYER}.attention", "layers/self_attention_{i}"),
    *_attention(f"{_LAYER}.crossattention", "layers/cross_attention_{i}"),
    *_feed("_query", _LAYER, "layers/query_feed_{i}"),
    *_feed("", _LAYER, "layers/word_feed_{i}"),
    *linear_rules("itm_head", "classifier"),
)


def table(layers: int, same_tokens: bool) -> Table:
    """Build the table of a query transformer, with the tensors that nothing is computed from.

    Args:
        layers: Its layers. Of the last one only the queries are read, not the words.
        same_tokens: The second stage reads tokens as wide as BLIP-2's; otherwise its keys and values do not fit.
    """
    last = _LAYER.format(i=layers - 1)
    unused = [f"{last}.{part}.*" for part in ("intermediate.dense", "output.dense", "output.LayerNorm")]
    if not same_tokens:
        unused += [f"{_LAYER}.crossattention.attention.{part}.*" for part in ("key", "value")]
    return Table("BLIP-2's query transformer", RULES, tuple(unused))


def start_from_blip2(head: Tree, shape: Any, source: str) -> Tree:
    """Replace CrossTVR's parameters by those of a BLIP-2 checkpoint.

    Args:
        head: Parameters of CrossTVR.
        shape: Its `QueryShape`.
        source: A folder with config.json and the weights in one file or several, or a name on the hub.

    Returns:
        All parameters of CrossTVR.

    Raises:
        UserError: There is no BLIP-2, or it has other sizes, or its tensors do not fit; lists those that are missing,
            left over or of another shape.
    """
    files = open_blip2(source)
    _check_sizes(files, shape)
    same = _same_tokens(head, files.sizes("qformer_config", TOKEN_WIDTH)["tokens"])
    try:
        loaded = convert(files.tensors(QFORMER), head, shape.layers, same)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    return _started(head, loaded, np.array)


def planned_start(head: Tree, shape: Any, source: str) -> Tree:
    """Check `start_from_blip2` without reading weights: sizes, names and shapes of a folder with safetensors.

    A name on the hub is taken as BLIP-2 ViT-g's, without asking for it.

    Args:
        head: Shapes of CrossTVR's parameters.
        shape: Its `QueryShape`.
        source: As for `start_from_blip2`.

    Returns:
        The shapes, where other objects stand for the parameters that BLIP-2 gives.

    Raises:
        UserError: As `start_from_blip2`.
    """
    width = TOKEN_WIDTH["tokens"][1]
    on_hub = HUB_NAME.fullmatch(source) and not Path(source).is_dir()
    files = None if on_hub else open_blip2(source)
    if files is not None:
        _check_sizes(files, shape)
        width = files.sizes("qformer_config", TOKEN_WIDTH)["tokens"]
    same = _same_tokens(head, width)
    if files is not None and ".safetensors" in files.weights.name:
        try:
            convert(files.tensors(QFORMER, shapes_only=True), head, shape.layers, same)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
    return _started(head, _wanted(head, same), lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32))


def convert(tensors: Tensors, head: Tree, layers: int, same_tokens: bool) -> dict[str, np.ndarray]:
    """Convert the tensors of a query transformer, strictly → parameters of CrossTVR by path.

    tensors: those named in `blip2_files.QFORMER`. head, layers, same_tokens: as above.
    """
    expected = traverse_util.unflatten_dict(_wanted(head, same_tokens), sep="/")
    try:
        tree = to_flax(table(layers, same_tokens), tensors, expected)
    except UserError as error:
        part = [name for name in ("itm_head.weight", f"{_LAYER.format(i=0)}.intermediate.dense.weight")
                if name not in tensors]  # fmt: skip
        hint = f"; give a Blip2ForImageTextRetrieval, such as {EXAMPLE}" if part else ""
        raise UserError(f"{error}{hint}") from error
    return traverse_util.flatten_dict(tree, sep="/")


def _wanted(head: Tree, same_tokens: bool) -> dict[str, Any]:
    """The parameters that BLIP-2 gives, by path."""
    flat = traverse_util.flatten_dict({name: head[name] for name in PARTS}, sep="/")
    return {path: leaf for path, leaf in flat.items() if same_tokens or not _reads_tokens(path)}


def _reads_tokens(path: str) -> bool:
    """Whether a path is keys or values of a cross-attention."""
    return "/cross_attention_" in path and path.split("/")[2] in ("key", "value")


def _same_tokens(head: Tree, width: int) -> bool:
    kernel = head["layers"]["cross_attention_0"]["key"]["kernel"]
    return kernel.shape[0] == width


def _started(head: Tree, given: dict[str, Any], copied: Any) -> Tree:
    """Put given parameters into a tree, those of the layers into the temporal layers as well where there are some."""
    flat = traverse_util.flatten_dict(head, sep="/", keep_empty_nodes=True)
    found = {path: copied(given[path]) if path in given else leaf for path, leaf in flat.items()}
    for path in flat:  # copies, so that both can be donated to a step
        shared = path.replace("temporal_layers/", "layers/", 1)
        if path.startswith("temporal_layers/") and shared in given:
            found[path] = copied(given[shared])
    return traverse_util.unflatten_dict(found, sep="/")


def _check_sizes(files: Blip2Files, shape: Any) -> None:
    sizes = files.sizes("qformer_config", SHAPE_FIELDS)
    different = [
        f"{SHAPE_FIELDS[name][0]} is {size}, config.head.transformer.{name} is {getattr(shape, name)}"
        for name, size in sizes.items()
        if size != getattr(shape, name)
    ]
    if different:
        raise UserError(
            f"{files.source}: {'; '.join(different)}; set config.head.transformer to the checkpoint's sizes"
        )
