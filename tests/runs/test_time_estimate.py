"""The estimate of training time, against a count of the encoders' products by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.runs import time_estimate
from eaglenet_jax.runs.plan import StagePlan, plan_run

RATE = 1e9
MEASURE = time_estimate.product_rate


@pytest.fixture(autouse=True)
def _rate(monkeypatch):
    monkeypatch.setattr(time_estimate, "product_rate", lambda width, dtype: RATE)
    monkeypatch.setattr(time_estimate.jax, "device_count", lambda: 2)


def _stage(name: str, tmp_path: Any) -> StagePlan:
    return plan_run(load_config(name, [f"--config.data.root={tmp_path}"]), tmp_path / "run").stages[-1]


def _transformer_flops(tokens: int, width: int, layers: int) -> float:
    """Products of a transformer for one sequence: 12 width² weights a layer, and attention's two products.

    Of the last layer only one token's output is read, so that the others need their keys and values alone.
    """
    weights = tokens * ((layers - 1) * 12 + 2) * width**2 + 10 * width**2
    attention = 4 * tokens**2 * width * (layers - 1) + 4 * tokens * width
    return 2 * weights + attention


def test_the_encoders_of_a_step_are_counted_as_by_hand(tmp_path):
    stage = _stage("demo:clip4clip", tmp_path)
    clip, config = stage.system.clip.config, stage.config
    grid = (clip.image_size // clip.patch_size) ** 2
    frame = _transformer_flops(grid + 1, clip.vision_width, clip.vision_layers)
    frame += 2 * grid * 3 * clip.patch_size**2 * clip.vision_width
    text = _transformer_flops(config.max_words, clip.text_width, clip.text_layers)
    step = 3 * config.batch_size * (config.max_frames * frame + text)
    expected = 100 * step / (2 * RATE * time_estimate.ENCODER_SHARE)
    assert time_estimate.training_seconds(stage, 100) == pytest.approx(expected, rel=0.1)


def test_a_head_on_cached_features_is_counted_alone(tmp_path):
    full, frozen = (
        time_estimate.training_seconds(_stage(f"moving_shapes:{name}", tmp_path), 10)
        for name in ("xpool", "xpool,frozen")
    )
    assert 0 < frozen < full / 10


def test_products_in_loops_branches_and_gradients_are_counted():
    def looped(x):
        doubled, _ = jax.lax.scan(lambda x, _: (jax.nn.relu(x @ x), None), x, None, length=5)
        return jnp.sum(jax.checkpoint(jnp.matmul)(doubled, x))

    x = jnp.ones((4, 4))
    one = 2 * 4**3
    assert time_estimate.product_flops(jax.jit(looped).trace(x).jaxpr) == 6 * one
    gradient = time_estimate.product_flops(jax.jit(jax.grad(looped)).trace(x).jaxpr)
    assert gradient in (18 * one, 19 * one)  # a product gives two; the one under the checkpoint may be made again


def test_a_product_is_timed():
    assert 1e6 < MEASURE(256, jnp.float32) < 1e15
