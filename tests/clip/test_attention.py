"""Who computes attention, and that the kernel of cuDNN is asked for the same numbers."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax import accelerator
from eaglenet_jax.clip import layers
from eaglenet_jax.clip.config import clip_config
from eaglenet_jax.clip.layers import Attention, cudnn_attention, uses_cudnn
from eaglenet_jax.errors import UserError


@pytest.fixture
def recent_gpu(monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "is_recent_gpu", lambda: True)


@pytest.mark.parametrize(
    ("backend", "capability", "recent"),
    [("gpu", "9.0", True), ("gpu", "8.0", True), ("gpu", "7.5", False), ("gpu", "gfx942", False), ("cpu", None, False)],
)
def test_a_recent_gpu_is_an_nvidia_one_since_ampere(monkeypatch, backend, capability, recent) -> None:
    device = SimpleNamespace(platform=backend, compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert accelerator.is_recent_gpu() == recent
    with jax.default_device(jax.devices("cpu")[0]):
        assert not accelerator.is_recent_gpu()


def test_cudnn_is_for_two_bytes_on_a_recent_gpu(recent_gpu, monkeypatch) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert uses_cudnn("auto", jnp.bfloat16, 64) and uses_cudnn("auto", "float16", 8)
    assert not uses_cudnn("auto", "float32", 64) and not uses_cudnn("xla", jnp.bfloat16, 64)
    assert not uses_cudnn("auto", jnp.bfloat16, 12) and not uses_cudnn("auto", jnp.bfloat16, 256)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert not uses_cudnn("auto", jnp.bfloat16, 64)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(accelerator, "is_recent_gpu", lambda: False)
    assert not uses_cudnn("auto", jnp.bfloat16, 64)


def test_another_kernel_is_refused() -> None:
    with pytest.raises(UserError, match="attention is 'flash', choose one of auto, xla"):
        clip_config("ViT-B/32", attention="flash")


def as_cudnn(query, key, value, *, query_seq_lengths=None, key_value_seq_lengths=None, is_causal, implementation):
    """What cuDNN's kernel computes, by XLA. Its gradient refuses odd numbers of tokens, and so does this."""
    assert implementation == "cudnn" and query.shape[1] % 2 == 0
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=query_seq_lengths,
        key_value_seq_lengths=key_value_seq_lengths,
        is_causal=is_causal,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [5, 6])
def test_a_token_that_fills_up_changes_no_value_and_no_gradient(monkeypatch, length, causal) -> None:
    query, key, value, weights = jax.random.normal(jax.random.key(0), (4, 2, length, 3, 8))
    exact = lambda *parts: jax.nn.dot_product_attention(*parts, is_causal=causal)  # noqa: E731

    def both(attend):
        gradient = jax.value_and_grad(lambda *parts: jnp.sum(weights * attend(*parts)), argnums=(0, 1, 2))
        return jax.jit(gradient)(query, key, value)

    wanted = both(exact)
    monkeypatch.setattr(layers, "jax", SimpleNamespace(nn=SimpleNamespace(dot_product_attention=as_cudnn)))
    found = both(lambda *parts: cudnn_attention(*parts, causal))
    for ours, right in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, right, atol=1e-5)


def test_what_the_kernel_does_not_compute_stays_with_xla(recent_gpu, monkeypatch) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    asked = []

    def kernel(query, key, value, causal):
        asked.append(causal)
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal)

    monkeypatch.setattr(layers, "cudnn_attention", kernel)
    x, whole = jnp.ones((2, 5, 16), jnp.bfloat16), jnp.ones((2, 5), bool)

    def run(dtype="bfloat16", keep=None, valid=None, attention="auto"):
        module = Attention(2, 0.1, True, jnp.dtype(dtype), attention)
        jax.eval_shape(lambda key: module.init_with_output(key, x, keep, valid), jax.random.key(0))
        found, asked[:] = list(asked), []
        return found

    assert run() == [True]
    assert run(dtype="float32") == run(keep=jnp.zeros(2, int)) == run(valid=whole) == run(attention="xla") == []
