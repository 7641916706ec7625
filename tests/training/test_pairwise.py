from __future__ import annotations

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, whole
from eaglenet_jax.training.pairwise import make_pairwise
from eaglenet_jax.training.sharding import make_mesh
from tests.training.eight_devices import needs_eight_devices

WIDTH = 4


class PairHead(Head):
    """Head with everything that is difficult for pairwise: parameters, draws, aux, a scan with a carry, two passes."""

    hidden: int = 6

    def setup(self) -> None:
        self.project = nn.Dense(self.hidden)

    def score(self, text: Any, video: Any, draws: Draws, aux: bool = False) -> PairScores:
        noise = draws.uniform("noise", draws.pair_ids(text["id"], video["id"]), (WIDTH,))
        moved = text["pooled"][:, None] + 0.1 * noise
        hidden = jnp.tanh(self.project(moved * video["pooled"][None]))

        def decay(carry: jax.Array, weight: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(carry + weight * hidden), None

        hidden, _ = jax.lax.scan(decay, jnp.zeros(hidden.shape), jnp.arange(3.0))
        return PairScores(jnp.sum(hidden, -1), {"hidden": hidden} if aux else {})

    def support(self, rows: Any, target: jax.Array) -> jax.Array:
        text, hidden = rows
        return jnp.einsum("tvh,h->tv", hidden, target) + jnp.sum(text["pooled"], -1, keepdims=True)

    def total(self, text: Any, video: Any, draws: Draws, pairwise: Pairwise) -> tuple[jax.Array, PairScores]:
        scores = pairwise(partial(self.score, aux=True), text, video, draws)
        hidden = scores.aux["hidden"]
        support = pairwise(self.support, (text, hidden), jnp.mean(hidden, (0, 1)))
        return jnp.sum(jnp.sin(scores.similarity)) + jnp.sum(support**2), scores


def _side(count: int, first_id: int) -> dict[str, jax.Array]:
    ids = jnp.arange(first_id, first_id + count, dtype=jnp.uint32)
    return {"id": ids, "pooled": jnp.sin(7.0 * first_id + jnp.arange(count * WIDTH).reshape(count, WIDTH) ** 2)}


def _params(hidden: int = 6) -> Any:
    kernel = np.random.default_rng(0).normal(size=(WIDTH, hidden)).astype(np.float32)
    return {"params": {"project": {"kernel": kernel, "bias": kernel[0]}}}


@cache
def _values_and_gradients(pairwise: Pairwise, texts: int, videos: int) -> Any:
    head, draws, params = PairHead(), Draws(jax.random.key(3), train=True), _params()
    text, video = _side(texts, 10), _side(videos, 90)

    def loss(params: Any, text_pooled: jax.Array, video_pooled: jax.Array) -> tuple[jax.Array, PairScores]:
        sides = text | {"pooled": text_pooled}, video | {"pooled": video_pooled}
        return head.apply(params, *sides, draws, pairwise, method="total")

    compute = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    return jax.jit(compute)(params, text["pooled"], video["pooled"])


def _assert_same(ours: Any, expected: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(expected)

    def same(one: Any, other: Any) -> None:
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6 * max(1.0, np.abs(other).max()))

    jax.tree.map(same, ours, expected)


@pytest.mark.parametrize(("block", "remat"), [(1, True), (3, True), (3, False), (100, True)])
def test_blocks_change_neither_values_nor_gradients(block: int, remat: bool) -> None:
    _assert_same(
        _values_and_gradients(make_pairwise(block=block, remat=remat), 7, 5), _values_and_gradients(whole, 7, 5)
    )


def test_one_device_mesh_changes_neither_values_nor_gradients() -> None:
    mesh = make_mesh(jax.devices()[:1])
    _assert_same(_values_and_gradients(make_pairwise(mesh, block=3), 7, 5), _values_and_gradients(whole, 7, 5))


@needs_eight_devices
@pytest.mark.parametrize(("texts", "block"), [(16, None), (13, 1), (5, 3)])
def test_eight_devices_change_neither_values_nor_gradients(texts: int, block: int | None) -> None:
    pairwise = make_pairwise(make_mesh(jax.devices()[:8]), block=block)
    _assert_same(_values_and_gradients(pairwise, texts, 5), _values_and_gradients(whole, texts, 5))


@needs_eight_devices
def test_eight_devices_each_work_on_their_own_rows() -> None:
    mesh = make_mesh(jax.devices()[:8])
    flops = {}
    for name, pairwise in (("whole", whole), ("mesh", make_pairwise(mesh))):
        head, draws = PairHead(hidden=256), Draws(jax.random.key(3))
        score = jax.jit(partial(head.apply, method=lambda self, *args, run=pairwise: run(self.score, *args)))
        compiled = score.lower(_params(256), _side(32, 0), _side(32, 90), draws).compile()
        flops[name] = compiled.cost_analysis()["flops"]
    assert flops["mesh"] < flops["whole"] / 7


def test_memory_falls_with_the_block() -> None:
    def temporary_bytes(pairwise: Pairwise) -> int:
        head, draws = PairHead(hidden=64), Draws(jax.random.key(3), train=True)
        text, video = _side(64, 10), _side(32, 90)

        def loss(params: Any) -> jax.Array:
            score = lambda self, *args: pairwise(self.score, *args)  # noqa: E731
            return jnp.sum(head.apply(params, text, video, draws, method=score).similarity)

        return jax.jit(jax.grad(loss)).lower(_params(64)).compile().memory_analysis().temp_size_in_bytes

    blocked = temporary_bytes(make_pairwise(block=8))
    assert blocked < temporary_bytes(whole) / 4
    assert blocked < temporary_bytes(make_pairwise(block=8, remat=False)) / 3


def test_only_bound_methods_are_taken() -> None:
    with pytest.raises(TypeError, match="bound flax module"):
        make_pairwise(block=2)(lambda rows, columns: rows, jnp.ones((2, 2)), jnp.ones((2, 2)))
