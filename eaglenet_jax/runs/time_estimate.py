"""Rough seconds of training before the first step: arithmetic of a step, over a rate measured in a moment."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.runs.plan import StagePlan
from eaglenet_jax.system import System

# Of the rate of a large product, what training reaches; measured with the demo (encoders: 0.4 to 0.6) and its heads on
# cached features (0.03 to 0.08: many small products). On other devices they are a guess.
ENCODER_SHARE = 0.5
HEAD_SHARE = 0.05
FORWARD_AND_BACKWARD = 3.0  # the backward pass has two products for each one of the forward pass


def training_seconds(stage: StagePlan, steps: int) -> float:
    """Estimate the seconds of `steps` steps, without compilation, evaluations and input.

    Nothing of the stage is compiled: its encoders are traced, or its head where the features are cached, and one
    product of the encoder's width is timed.

    Args:
        stage: As it is planned.
        steps: Updates.
    """
    system, config = stage.system, stage.config
    batch = batch_shapes(system, config.batch_size)
    if config.cached_features:
        flops, share = _head_flops(system, stage.shapes, batch), HEAD_SHARE
    else:
        flops, share = _flops(system.encode, stage.shapes, batch), ENCODER_SHARE
    rate = product_rate(system.clip.config.vision_width, jnp.dtype(system.clip.config.dtype)) * jax.device_count()
    return steps * FORWARD_AND_BACKWARD * flops / (share * rate)


@functools.lru_cache
def product_rate(width: int, dtype: Any) -> float:
    """Measure the FLOP/s of one device on a product [rows, width] [width, 4 width] of about 2 GFLOP.

    Args:
        width: Of the product; each is measured once a process.
        dtype: Of its numbers, likewise.
    """
    rows = max(1, round(2e9 / (8 * width**2)))
    left, right = jnp.ones((rows, width), dtype), jnp.ones((width, 4 * width), dtype)
    seconds = []
    for _ in range(4):  # the first one compiles
        start = time.perf_counter()
        jax.block_until_ready(left @ right)
        seconds.append(time.perf_counter() - start)
    return 2 * rows * width * 4 * width / min(seconds)


def batch_shapes(system: System, size: int) -> dict[str, Any]:
    """Shapes of a training batch, see `System.encode`."""
    ids = jax.ShapeDtypeStruct((size,), jnp.uint32)
    side = system.clip.config.image_size
    batch = {
        "text_id": ids,
        "tokens": jax.ShapeDtypeStruct((size, system.max_words), jnp.int32),
        "video_id": ids,
        "frames": jax.ShapeDtypeStruct((size, system.max_frames, side, side, 3), jnp.uint8),
        "frame_mask": jax.ShapeDtypeStruct((size, system.max_frames), jnp.bool_),
    }
    extra = jax.eval_shape(
        lambda: {"text_extra": system.head.text_extra(size), "video_extra": system.head.video_extra(size)}
    )
    return batch | {name: value for name, value in extra.items() if value}


def _head_flops(system: System, shapes: Any, batch: dict[str, Any]) -> float:
    def loss(params: Any, features: Any, state: Any, key: Any) -> Any:
        return system.head_loss(params, features, state, Draws(key, train=True), whole)

    features = system.feature_shapes(batch["text_id"].shape[0])
    return _flops(loss, shapes, features, jax.eval_shape(system.head.initial_state), jax.random.key(0))


def _flops(function: Any, *arguments: Any) -> float:
    return product_flops(jax.jit(function).trace(*arguments).jaxpr)


def product_flops(traced: Any) -> float:
    """Count the FLOPs of the matrix products of a traced function; of a loop as often as it runs.

    The compiler's own count needs the lowered program, which takes longer, and counts the body of a loop once.

    Args:
        traced: A jaxpr, such as `jitted.trace(*arguments).jaxpr`.
    """
    total = 0.0
    for step in traced.eqns:
        if step.primitive.name == "dot_general":
            (contracted, _), _ = step.params["dimension_numbers"]
            terms = math.prod(step.invars[0].aval.shape[axis] for axis in contracted)
            total += 2.0 * terms * math.prod(step.outvars[0].aval.shape)
            continue
        inner = sum(map(product_flops, _inner(step.params)))
        times = step.params["length"] if step.primitive.name == "scan" else 1
        times *= step.params["mesh"].size if step.primitive.name == "shard_map" else 1
        total += times * inner
    return total


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """Iterate over the jaxprs that a step of a jaxpr runs."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if hasattr(each, "eqns"):
                yield each
            elif hasattr(each, "jaxpr"):  # with its constants
                yield each.jaxpr
