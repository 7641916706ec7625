"""Implementations of scoring a gallery to compare, with one set of parameters: dense in PyTorch, in JAX, ours."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.dense_head import DenseEagleNet
from benchmarks.measure import compiled_flops
from benchmarks.random_features import GivenNoise, Sizes, gallery, random_params, released_fields, text_noise
from benchmarks.scoring_counts import dense_products, folded_products, mflop
from benchmarks.scoring_torch import BLOCK, TorchDense
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.scoring.gallery import ScoringOptions, make_score, score_gallery

TORCH, ALL_NODES, DENSE, OURS = "torch_dense", "jax_dense_all_nodes", "jax_dense", "ours"
TITLES = {
    TORCH: "(a) dense, PyTorch",
    ALL_NODES: "(b) dense, JAX, all node outputs",
    DENSE: "(b) dense, JAX, as jitted",
    OURS: "(c) ours",
}
COUNTED_BLOCK = 32  # texts and videos, at most


def has_torch() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def make_ways(
    sizes: Sizes, dtype: str = "float32", names: Sequence[str] = tuple(TITLES), device: str = "cpu"
) -> dict[str, Callable[[], np.ndarray]]:
    """Build functions by name that score the whole gallery from its features and return [Nt, Nv] on the host.

    dtype: compute type of the head. device: PyTorch's. (a) needs PyTorch installed.
    (a) gets the noise of the candidates as an argument, the others draw it. The dense ways go over blocks of 8 texts ×
    8 videos, as the released program does; ours chooses its blocks.
    """
    ours, dense, every = (_head(name, sizes, dtype) for name in (OURS, DENSE, ALL_NODES))
    params, (texts, videos), draws = random_params(ours), gallery(sizes), Draws(jax.random.key(5))
    noise = text_noise(sizes, texts, draws)
    score: dict[str, Callable[[], np.ndarray]] = {
        ALL_NODES: functools.partial(_with_all_nodes, every, params, texts, videos, draws),
        DENSE: functools.partial(
            score_gallery, dense, params, texts, videos, draws=draws,
            options=ScoringOptions(min(BLOCK, sizes.texts), min(BLOCK, sizes.videos)),
        ),
        OURS: functools.partial(score_gallery, ours, params, texts, videos, draws=draws),
    }  # fmt: skip
    if TORCH in names:
        torch_dense = TorchDense(ours, params, device, dtype)
        score[TORCH] = lambda: torch_dense.score(texts.pooled, videos.frames, noise)

    return {name: score[name] for name in names}


def mflop_by_hand(name: str, sizes: Sizes) -> float | None:
    """Return MFLOP a pair of an implementation, counted by hand, products alone. None if it was not counted."""
    if name == OURS and sizes.layers <= 2:
        return mflop(folded_products(sizes))
    return mflop(dense_products(sizes, adjacency=name == ALL_NODES)) if name in (TORCH, ALL_NODES) else None


def mflop_by_compiler(name: str, sizes: Sizes, dtype: str = "float32") -> float | None:
    """Return MFLOP a pair of an implementation, by the compiler's cost analysis of one block; None for PyTorch.

    The block has no loop and no custom call: the noise is given to it. It is compiled and not run.
    """
    if name == TORCH:
        return None
    head = _head(name, sizes, dtype)
    rows, columns = min(COUNTED_BLOCK, sizes.texts), min(COUNTED_BLOCK, sizes.videos)
    parts = make_score(head)

    def shapes() -> Any:
        texts, videos = jax.tree.map(jnp.asarray, gallery(dataclasses.replace(sizes, texts=rows, videos=columns)))
        params = random_params(head)
        given = GivenNoise(jax.random.key(0), given=jnp.zeros((rows, 1, sizes.candidates, sizes.width)))
        return params, parts.prepare_text(params, texts), parts.prepare_video(params, videos), given

    block = _block_of(head) if isinstance(head, DenseEagleNet) and head.all_nodes else parts.block
    return compiled_flops(block.lower(*jax.eval_shape(shapes)).compile()) / (rows * columns) / 1e6


def _head(name: str, sizes: Sizes, dtype: str) -> EagleNet:
    fields = released_fields(sizes, dtype)
    if name in (DENSE, ALL_NODES):
        return DenseEagleNet(**fields, all_nodes=name == ALL_NODES)
    return EagleNet(**fields)


@functools.lru_cache(maxsize=4)
def _block_of(head: EagleNet) -> Any:
    """Build the jitted (params, T, V, draws) → similarity and the outputs of all nodes."""

    def block(params: Any, text: Any, video: Any, draws: Draws) -> Any:
        scores: Any = head.apply({"params": params}, text, video, draws, aux=True, method="score")
        return scores.similarity, scores.aux["nodes"]

    return jax.jit(block)


def _with_all_nodes(head: EagleNet, params: Any, texts: Any, videos: Any, draws: Draws) -> np.ndarray:
    parts, block = make_score(head), _block_of(head)
    text, video = parts.prepare_text(params, texts), parts.prepare_video(params, videos)
    rows = []
    for i in range(0, len(texts.id), BLOCK):
        row = []
        for j in range(0, len(videos.id), BLOCK):
            taken = parts.take_texts(text, np.arange(i, min(i + BLOCK, len(texts.id))))
            shown = parts.take_videos(video, np.arange(j, min(j + BLOCK, len(videos.id))))
            row.append(np.asarray(jax.block_until_ready(block(params, taken, shown, draws))[0]))
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)
