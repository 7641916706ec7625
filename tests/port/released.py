"""Checkpoints as the released programs write them, put together from the recorded tensors; d is 32 in all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.port.clip_sizes import sizes_from_shapes
from eaglenet_jax.port.hf_clip import HF_CLIP
from eaglenet_jax.port.load import clip_from_tensors
from eaglenet_jax.port.openai_clip import OPENAI_CLIP, SIZE_NAMES
from eaglenet_jax.port.table import to_pytorch

Tensors = dict[str, np.ndarray]
Golden = Callable[[str], dict[str, np.ndarray]]


def parameters(golden: Golden, record: str) -> Tensors:
    return {name[6:]: array for name, array in golden(record).items() if name.startswith("param/")}


def openai_clip(golden: Golden) -> Tensors:
    """The recorded CLIP with the first two blocks of each tower, which is enough of them."""
    tensors = parameters(golden, "clip_token_shift")
    return {name: array for name, array in tensors.items() if not re.search(r"resblocks\.([2-9]|1\d)\.", name)}


def clip_config(golden: Golden) -> ClipConfig:
    return sizes_from_shapes(openai_clip(golden), SIZE_NAMES)


def hf_clip(golden: Golden) -> Tensors:
    params, logit_scale = clip_from_tensors(OPENAI_CLIP, openai_clip(golden), clip_config(golden))
    return to_pytorch(HF_CLIP, {**params, "head": {"matching_loss": {"logit_scale": logit_scale}}})


def _in_program(tensors: Tensors) -> Tensors:
    return {f"clip.{name}": array for name, array in tensors.items()}


def eaglenet(golden: Golden, record: str = "eaglenet_msrvtt") -> Tensors:
    """clip.* under OpenAI's names in float16, the head, and what the program builds and never uses."""
    random = np.random.default_rng(0)
    unused = {
        name.replace("clip.transformer.", "transformerClip."): random.normal(size=array.shape).astype(np.float32)
        for name, array in _in_program(openai_clip(golden)).items()
        if name.startswith("clip.transformer.")
    }
    unused["frame_position_embeddings.weight"] = random.normal(size=(16, 64)).astype(np.float32)
    return {**_in_program(openai_clip(golden)), **parameters(golden, record), **unused}


def clip4clip(golden: Golden) -> Tensors:
    return _in_program(openai_clip(golden))


def clip4clip_seqtransf(golden: Golden) -> Tensors:
    """With a transformer of two blocks over the frames, and positions, as wide as the features."""
    tensors = _in_program(openai_clip(golden))
    width = tensors["clip.text_projection"].shape[1]
    random = np.random.default_rng(0)

    def narrow(array: np.ndarray) -> np.ndarray:
        shape = tuple(size // tensors["clip.positional_embedding"].shape[1] * width for size in array.shape)
        return random.normal(size=shape).astype(np.float32)

    blocks = {
        name.replace("clip.transformer.", "transformerClip."): narrow(array)
        for name, array in tensors.items()
        if name.startswith("clip.transformer.")
    }
    rows = len(tensors["clip.positional_embedding"])
    positions = random.normal(size=(rows, width)).astype(np.float32)
    return {**tensors, **blocks, "frame_position_embeddings.weight": positions}


def ts2net(golden: Golden) -> Tensors:
    """The recorded program as it is: it shifts blocks 10 and 11, so all its blocks are needed."""
    return parameters(golden, "ts2net_dev")


def xpool(golden: Golden) -> Tensors:
    head = parameters(golden, "xpool_tmass")
    kept = {name: array for name, array in head.items() if name.startswith("pool_frames.")}
    positions = {f"clip.{tower}_model.embeddings.position_ids": np.arange(9)[None] for tower in ("text", "vision")}
    return {**_in_program(hf_clip(golden)), **kept, **positions}


def tmass(golden: Golden) -> Tensors:
    head = parameters(golden, "xpool_tmass")
    return {**xpool(golden), **{name: array for name, array in head.items() if name.startswith("stochastic.")}}


def record_config(golden: Golden, record: str) -> dict[str, Any]:
    return json.loads(str(golden(record)["config"]))


MAKERS = {
    "openai": openai_clip,
    "hf": hf_clip,
    "open_clip": openai_clip,
    "eaglenet": eaglenet,
    "clip4clip": clip4clip,
    "clip4clip_seqtransf": clip4clip_seqtransf,
    "ts2net": ts2net,
    "xpool": xpool,
    "tmass": tmass,
}
