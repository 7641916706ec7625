"""The folded loss against the dense one: the same gradient, less memory."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import training_memory
from benchmarks.random_features import Sizes, gallery, moved
from benchmarks.training_memory import WAYS, initial_params, pairwise_loss
from eaglenet_jax.heads import eaglenet

pytestmark = pytest.mark.long

SIZES = Sizes(frames=3, candidates=4, texts=5, videos=5, width=8, heads=2)


def _gradients(way: str, dtype: type) -> list[np.ndarray]:
    """Loss and gradients, with dropout and candidate noise as in training, as float64 arrays."""
    head, function = pairwise_loss(SIZES, way)
    texts, videos = gallery(SIZES)
    given = moved(jax.jit(lambda: initial_params(head))(), 0.1), texts.pooled, videos.frames
    found = jax.jit(function)(*jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), given), jax.random.key(1))
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found)]


@pytest.mark.parametrize("few_reads", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.float64, 1e-11)])
def test_the_folded_loss_has_the_gradient_of_the_dense_one(dtype, tolerance, few_reads, monkeypatch) -> None:
    form = functools.partial(eaglenet.candidate_weights, few_reads=few_reads)
    monkeypatch.setattr(eaglenet, "candidate_weights", form)
    with jax.enable_x64(dtype == jnp.float64):
        dense, folded = (_gradients(way, dtype) for way in ("dense", "folded"))
    assert sum(np.abs(leaf).max() > 0 for leaf in dense) > 20
    length = np.linalg.norm(np.concatenate([leaf.ravel() for leaf in dense]))
    assert max(np.linalg.norm(one - two) for one, two in zip(dense, folded, strict=True)) <= tolerance * length


def test_prints_memory_and_times_of_which_folding_and_blocks_need_less(monkeypatch, capsys) -> None:
    monkeypatch.setattr(training_memory, "WAYS", WAYS[:3])
    monkeypatch.setattr(training_memory, "TIMED_WAYS", WAYS[1:2])
    training_memory.main(["--batches=16x4", "--timed_batches=4x3", "--width=32", "--rounds=1", "--json", "--time"])
    result = json.loads(capsys.readouterr().out)
    dense, folded, blocks = (result["memory"][0]["bytes"][way] for way in WAYS[:3])
    assert blocks < folded < dense
    assert result["seconds"][0]["seconds"]["folded"] > 0
    assert "batch 16 × 4 frames" in training_memory.table(result)
