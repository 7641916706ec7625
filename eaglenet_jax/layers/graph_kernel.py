"""Candidate weights of pairs with all that follows the first layer's product in one Pallas kernel, in Triton's form.

The plain form (`rgat_folded.py`) writes the messages, the second layer's nodes and its logits to memory and reads them
again. Here one program a pair reads its part of the product and of the video, and writes S + 1 weights. Importing this
module imports Pallas, which takes a second, so it is imported where it is used.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from eaglenet_jax.errors import UserError
from eaglenet_jax.layers.rgat import LEAKY_SLOPE, TEXT_FRAME, GraphShape, Layer
from eaglenet_jax.layers.rgat_folded import FrameSide, read_once, relation_vectors

KERNELS = ("none", "triton", "interpret")
LOWEST, SMALLEST_SUM = -1e30, 1e-30
SMALLEST = 16  # sides of a product in Triton
MOST_NODES, MOST_HEAD_WIDTH = 64, 128  # with more, a program's arrays no longer fit its registers


class VideoRefs(NamedTuple):
    """What depends on the video alone: of the first layer's `FrameSide`, with `before` = W_o f + within.

    values, before: [H, M, k]. receive, send: [H, M]. mask: [M], 1 at valid frames.
    """

    values: Any
    before: Any
    receive: Any
    send: Any
    mask: Any


class Launch(NamedTuple):
    """How a program runs. warps: 32 threads each. columns: features of a head that it holds at a time."""

    warps: int
    columns: int


class Sizes(NamedTuple):
    """texts S + 1, frames M, heads H and head width k of a pair; residuals: W_o of every head, or one of all."""

    texts: int
    frames: int
    heads: int
    width: int
    residuals: int

    @property
    def padded(self) -> tuple[int, int, int, int]:
        """Texts, frames, heads and head width as Triton takes them: powers of two, 16 or more."""
        texts, frames, heads, width = (max(SMALLEST, 1 << (size - 1).bit_length()) for size in self[:4])
        return texts, frames, heads, width


class Form(NamedTuple):
    """What a program computes. columns: as of `Launch`. released: whether the released readout is computed."""

    sizes: Sizes
    columns: int
    released: bool


def check_kernel(shape: GraphShape, texts: int, frames: int, kind: str) -> None:
    """Refuse what the kernel does not compute, and a device that it does not run on.

    Args:
        shape: Structure of the network.
        texts: S + 1, text nodes of a pair.
        frames: M.
        kind: "triton" on an NVIDIA GPU; "interpret" computes what it does on any device, slowly.

    Raises:
        UserError: The graph is not of the kind, the layers or the sizes that the kernel is written for, or the device
            is no GPU.
    """
    if kind not in KERNELS:
        raise UserError(f"scoring kernel {kind!r} is none of {', '.join(KERNELS)}: use kernel 'none'")
    if kind == "triton" and jax.default_backend() != "gpu":
        backend = jax.default_backend()
        raise UserError(f"scoring kernel 'triton' runs on a GPU, and this is a {backend}: use kernel 'none'")
    width = shape.width // shape.heads
    if shape.kind != "rgat" or shape.layers != 2:
        found = f"{shape.kind!r} of {shape.layers} layers"
        raise UserError(f"the scoring kernel is for graphs of kind 'rgat' of 2 layers, not {found}: use kernel 'none'")
    if max(texts, frames) > MOST_NODES or width > MOST_HEAD_WIDTH:
        raise UserError(
            f"the scoring kernel takes {MOST_NODES} texts (candidates + 1) and frames a pair and {MOST_HEAD_WIDTH} "
            f"features a head at most, not {texts}, {frames} and {width}: use kernel 'none'"
        )


def candidate_weights_by_kernel(
    shape: GraphShape,
    layers: tuple[Layer, ...],
    video: FrameSide,
    texts: Float[Array, "Bt Bv texts d"],
    kind: str,
) -> Float[Array, "Bt Bv texts"]:
    """Compute the weights w of the text nodes of every pair, as `rgat_folded.candidate_weights` without dropout.

    Messages and their sums stay in float32, where the plain form rounds each to the type of the texts.

    Args:
        shape: Structure of the network.
        layers: Parameters, first layer to last.
        video: From `prepare_frames`.
        texts: The text and its candidates, by pair.
        kind: As of `check_kernel`.

    Raises:
        UserError: As of `check_kernel`.
    """
    assert video.values is not None and video.within is not None and video.own is not None  # of the first of 2 layers
    heads, frames, width = video.values.shape[-3:]
    first, last = layers
    assert first.residual is not None  # of kind rgat
    sizes = Sizes(texts.shape[-2], frames, heads, width, first.residual.shape[1])
    check_kernel(shape, sizes.texts, sizes.frames, kind)
    dtype = texts.dtype
    launch = choose_launch(sizes, dtype)
    found = read_once(first, texts)
    vectors = relation_vectors(last.of(TEXT_FRAME)).reshape(heads, width, heads, 2)
    receive, send = (vectors[..., end].astype(dtype) for end in (0, 1))
    of_texts, of_frames = (send, receive) if shape.readout == "released" else (receive, send)
    by_video = VideoRefs(
        video.values.astype(dtype),
        (video.own + video.within.value).astype(dtype),
        video.receive,
        video.send,
        video.mask.astype(jnp.int32),
    )
    pairs = found.shape[:2]

    def whole(array: Array) -> pl.BlockSpec:
        return pl.BlockSpec(array.shape, lambda text, video: (0,) * array.ndim)

    def of_video(array: Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, *array.shape[1:]), lambda text, video: (video, *(0,) * (array.ndim - 1)))

    def of_pair(*rest: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, None, *rest), lambda text, video: (text, video, *(0,) * len(rest)))

    call = pl.pallas_call(
        functools.partial(_pair, Form(sizes, launch.columns, shape.readout == "released")),
        out_shape=jax.ShapeDtypeStruct((*pairs, sizes.texts), jnp.float32),
        # Texts first, which on a GPU run side by side: they read the same video.
        grid=pairs,
        in_specs=[
            of_pair(*found.shape[2:]),
            VideoRefs(*map(of_video, by_video)),
            whole(of_texts),
            whole(of_frames),
        ],
        out_specs=of_pair(sizes.texts),
        compiler_params=triton.CompilerParams(num_warps=launch.warps, num_stages=1),
        interpret=kind == "interpret",
        name="candidate_weights",
    )
    return call(found, by_video, of_texts, of_frames)


def choose_launch(sizes: Sizes, dtype: Any) -> Launch:
    """Choose how a program of the kernel runs, by what the compiler says of registers; others were not timed.

    Triton lays the warps of products on tensor cores along the receivers, 16 a warp: more of them do the same twice. At
    float32's full precision there are no such products, and two warps would keep 24 kB a thread outside registers.
    """
    warps = 8 if dtype == jnp.float32 else max(sizes.padded[:2]) // SMALLEST
    return Launch(warps, sizes.padded[3])


def _pair(form: Form, found: Any, video: VideoRefs, of_texts: Any, of_frames: Any, weights: Any) -> None:
    """Compute the weights of one pair. Arguments after the first are references to its parts of the arrays."""
    sizes, columns, released = form
    texts, frames, heads, width = sizes.padded
    dtype = found.dtype
    # Zero. Where a start is a constant, jax refuses a slice that the mask cuts to the array's size.
    first = 0 * pl.program_id(0)
    is_text, is_frame = jnp.arange(texts) < sizes.texts, jnp.arange(frames) < sizes.frames
    is_head = jnp.arange(heads) < sizes.heads
    valid = triton.load(video.mask.at[pl.ds(first, frames)], mask=is_frame, other=0) != 0

    def is_feature(start: Any) -> Array:
        return start + jnp.arange(columns) < sizes.width

    def nodes(block: Any, start: Any) -> Array:
        part = found.at[pl.ds(first, texts), pl.ds(block + start, columns)]
        return triton.load(part, mask=is_text[:, None] & is_feature(start)[None, :], other=0)

    def logit(column: Array) -> Array:
        return triton.load(found.at[pl.ds(first, texts), column], mask=is_text, other=0).astype(jnp.float32)

    def of_head(array: Any, head: Array, start: Any) -> Array:
        part = array.at[head, pl.ds(first, frames), pl.ds(start, columns)]
        return triton.load(part, mask=is_frame[:, None] & is_feature(start)[None, :], other=0)

    def frame_logit(array: Any, head: Array) -> Array:
        return triton.load(array.at[head, pl.ds(first, frames)], mask=is_frame, other=0)

    def folded(features: Array, vectors: Any, head: Array, start: Any) -> Array:
        part = vectors.at[head, pl.ds(start, columns), pl.ds(first, heads)]
        loaded = triton.load(part, mask=is_feature(start)[:, None] & is_head[None, :], other=0)
        return _product(jnp.maximum(features, 0).astype(dtype), loaded)

    residual, own_columns = 2 * sizes.heads * sizes.width, sizes.width if sizes.residuals > 1 else 0
    within = residual + sizes.residuals * sizes.width
    across = within + 2 * sizes.heads

    def one_head(head: Array, logits: tuple[Array, Array]) -> tuple[Array, Array]:
        among = _edge_weights(logit(within + 2 * head), logit(within + 2 * head + 1), is_text).astype(dtype)
        from_frames = _edge_weights(logit(across + 2 * head), frame_logit(video.send, head), valid).astype(dtype)
        from_texts = _edge_weights(frame_logit(video.receive, head), logit(across + 2 * head + 1), is_text)
        from_texts = from_texts.astype(dtype)

        def some_columns(number: Array, logits: tuple[Array, Array]) -> tuple[Array, Array]:
            of_text, of_frame = logits
            start = first + number * columns
            new_texts = nodes(residual + head * own_columns, start).astype(jnp.float32)
            new_texts += _product(among, nodes(head * sizes.width, start))
            new_texts += _product(from_frames, of_head(video.values, head, start))
            of_text += folded(new_texts, of_texts, head, start)
            new_frames = of_head(video.before, head, start).astype(jnp.float32)
            new_frames += _product(from_texts, nodes((sizes.heads + head) * sizes.width, start))
            return of_text, of_frame + folded(new_frames, of_frames, head, start)

        return jax.lax.fori_loop(0, width // columns, some_columns, logits)

    def mean_of_head(head: Array, summed: Array) -> Array:
        logits = _column(text_logits, head)[:, None] + _column(frame_logits, head)[None, :]
        logits = jnp.where(logits > 0, logits, LEAKY_SLOPE * logits) if released else logits
        return summed + jnp.sum(jnp.where(valid[None, :], logits, 0), axis=1)

    start = jnp.zeros((texts, heads), jnp.float32), jnp.zeros((frames, heads), jnp.float32)
    text_logits, frame_logits = jax.lax.fori_loop(0, sizes.heads, one_head, start)
    summed = jax.lax.fori_loop(0, sizes.heads, mean_of_head, jnp.zeros(texts, jnp.float32))
    mean = summed / (sizes.heads * jnp.maximum(jnp.sum(valid.astype(jnp.float32)), 1))
    triton.store(weights.at[pl.ds(first, texts)], _softmax(mean, is_text), mask=is_text)


def _edge_weights(receive: Array, send: Array, senders: Array) -> Array:
    """Compute the attention of receivers [i] over senders [j], zero where there is none."""
    logits = receive[:, None] + send[None, :]
    return _softmax(jnp.where(logits > 0, logits, LEAKY_SLOPE * logits), senders[None, :])


def _softmax(logits: Array, mask: Array) -> Array:
    """Apply softmax to the last axis over entries where `mask` is True; zero where there is none."""
    logits = jnp.where(mask, logits, LOWEST)
    raised = jnp.where(mask, jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True)), 0)
    return raised / jnp.maximum(jnp.sum(raised, axis=-1, keepdims=True), SMALLEST_SUM)


def _product(left: Array, right: Array) -> Array:
    return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _column(array: Array, column: Array) -> Array:
    """Take a column [n] of an array [n, columns]; Triton cannot slice what is in registers."""
    return jnp.sum(jnp.where(jnp.arange(array.shape[1])[None, :] == column, array, 0), axis=1)
