"""A BLIP-2 checkpoint with random numbers, written without PyTorch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eaglenet_jax.port.blip2 import PARTS, SHAPE_FIELDS, table
from eaglenet_jax.port.files import write_tensors
from eaglenet_jax.port.table import to_pytorch


def write_blip2(folder: Path, head: Any, shape: Any, token_width: int) -> dict[str, np.ndarray]:
    """Write the query transformer that the parameters of a CrossTVR are shaped for, for tokens of a width.

    head: shapes of CrossTVR's parameters. Returns the tensors.
    """
    rng = np.random.default_rng(11)
    tree = {
        name: jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), head[name]) for name in PARTS
    }
    for name, layer in tree["layers"].items():
        if name.startswith("cross_attention"):
            for part in ("key", "value"):
                layer[part]["kernel"] = rng.normal(size=(token_width, shape.width)).astype(np.float32)
    tensors = to_pytorch(table(shape.layers, same_tokens=True), tree)
    last = f"qformer.encoder.layer.{shape.layers - 1}"
    tensors |= {f"{last}.output.dense.bias": np.zeros(3, np.float32)}  # of the words; not read
    write_tensors(folder / "model.safetensors", tensors)
    sizes = {theirs: dataclasses.asdict(shape)[ours] for ours, (theirs, _) in SHAPE_FIELDS.items()}
    written = {"model_type": "blip-2", "qformer_config": {**sizes, "encoder_hidden_size": token_width}}
    (folder / "config.json").write_text(json.dumps(written))
    return tensors
