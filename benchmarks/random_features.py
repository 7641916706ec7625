"""Head, parameters and features for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from eaglenet_jax.draws import Draws, Ids
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.layers.rgat import GraphShape


@dataclass(frozen=True)
class Sizes:
    """frames M, candidates S, width d, heads H, layers L of a pair's graph; texts, videos of the gallery."""

    frames: int = 12
    candidates: int = 20
    texts: int = 32
    videos: int = 32
    width: int = 512
    heads: int = 4
    layers: int = 2


@struct.dataclass
class GivenNoise(Draws):
    """Draws with given candidate noise, so that a program has no loop of a random number generator.

    given: [Bt, 1, S, d], for the texts that are scored.
    """

    given: Any = None

    def uniform(self, name: str, ids: Ids, shape: Sequence[int]) -> jax.Array:
        """Return the given noise, whatever the name."""
        del name, ids, shape
        return self.given


def text_noise(sizes: Sizes, texts: TextFeatures, draws: Draws) -> np.ndarray:
    """Return the candidate noise that the head draws for these texts, [Nt, S, d]."""
    return np.asarray(draws.uniform("candidates", (texts.id,), (sizes.candidates, sizes.width)))


def released_fields(sizes: Sizes, dtype: str = "float32") -> dict[str, Any]:
    """Return the fields of EagleNet, or of a subclass, with the released switches."""
    return {
        "width": sizes.width,
        "frames": sizes.frames,
        "graph": GraphShape(sizes.width, sizes.layers, sizes.heads),
        "candidates": sizes.candidates,
        "dtype": None if dtype == "float32" else jnp.dtype(dtype),
    }


def gallery(sizes: Sizes, signal: float = 1.0) -> tuple[TextFeatures, VideoFeatures]:
    """Draw random features without padding. signal: weight of a video's text in each of its frames."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(sizes.texts, sizes.width)).astype(np.float32)
    frames = rng.normal(size=(sizes.videos, sizes.frames, sizes.width)).astype(np.float32)
    frames += signal * text[np.arange(sizes.videos) % sizes.texts, None]
    words, present = np.ones((sizes.texts, 1), bool), np.ones(frames.shape[:2], bool)
    return (
        TextFeatures(np.arange(sizes.texts, dtype=np.uint32), text, None, words),
        VideoFeatures(np.arange(sizes.videos, dtype=np.uint32), frames, None, present),
    )


def one_pair(head: EagleNet) -> tuple[TextFeatures, VideoFeatures]:
    """Return one text and one video on the device, of the sizes that the head is built for."""
    return jax.tree.map(jnp.asarray, gallery(Sizes(head.frames, texts=1, videos=1, width=head.width)))


def random_params(head: EagleNet, seed: int = 0) -> Any:
    """Initialise the parameters that scoring needs, perturbed so that none is an identity or zero."""
    texts, videos = one_pair(head)

    def everything(module: EagleNet) -> None:
        module.score(module.prepare_text(texts), module.prepare_video(videos), Draws(jax.random.key(0)))

    params = jax.jit(nn.init(everything, head))(jax.random.key(seed))["params"]
    return moved(params, 0.02, seed)


def moved(params: Any, scale: float, seed: int = 0) -> Any:
    """Add normal noise of standard deviation `scale` to the parameters."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + (scale * rng.normal(size=leaf.shape)).astype(np.float32), params)
