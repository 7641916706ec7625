"""A system of a few thousand parameters, and batches for it."""

from __future__ import annotations

import jax
import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.energy.matching import SamplerSettings
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import Head
from eaglenet_jax.layers.rgat import GraphShape
from eaglenet_jax.system import System

WIDTH, FRAMES, WORDS, SIZE = 16, 3, 6, 12
CLIP = ClipConfig(
    embed_dim=WIDTH,
    image_size=SIZE,
    patch_size=4,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    text_width=16,
    text_layers=1,
    text_heads=2,
    vocab_size=32,
    context_length=WORDS,
    shift_blocks=(0,),
)
HEADS: dict[str, Head] = {
    "clip4clip": Clip4Clip(WIDTH),
    "eaglenet": EagleNet(
        WIDTH,
        FRAMES,
        GraphShape(WIDTH, heads=2),
        candidates=2,
        sampler=SamplerSettings(steps=2, buffer_rows=24),
    ),
}


def system(head: str) -> System:
    return System(Clip(CLIP), HEADS[head], WORDS, FRAMES)


def batch(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.arange(FRAMES) < rng.integers(1, FRAMES + 1, size=(count, 1))
    frames = rng.integers(0, 256, size=(count, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    tokens = rng.integers(1, 30, size=(count, WORDS), dtype=np.int32)
    tokens[:, -1] = 31
    return {
        "text_id": rng.permutation(10_000)[:count].astype(np.uint32),
        "tokens": tokens,
        "video_id": rng.permutation(10_000)[:count].astype(np.uint32),
        "frames": np.where(mask[:, :, None, None, None], frames, 0).astype(np.uint8),
        "frame_mask": mask,
    }


def initial_params(head: str) -> dict:
    return jax.jit(system(head).init)(jax.random.key(0))
