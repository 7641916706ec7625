"""The read-out of the relational graph attention network, without the waste of the dense definition in `rgat.py`.

Frames and texts are kept apart, and every array has two leading axes: texts × videos, with size 1 where nothing depends
on that axis. In the first layer the frames do not depend on the text, so all that concerns frames alone is computed
once per video by `prepare_frames`; deeper layers run the same functions with frames that have grown a text axis. Three
identities carry the rest (docs/systems.md section 5):

    a · (W^h x) = (W^hᵀ a) · x                      logits from one folded vector a head, no projection
    Σ_j α_ij (W^h x_j) = W^h (Σ_j α_ij x_j)         mix first and project after, where receivers are fewer than senders
    of the last layer only text–frame logits are read, so it needs no projection, no messages and no other relation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from eaglenet_jax.draws import Draws, Ids
from eaglenet_jax.layers.rgat import (
    FRAME_FRAME,
    LEAKY_SLOPE,
    TEXT_FRAME,
    TEXT_TEXT,
    GraphShape,
    Layer,
    Relation,
)
from eaglenet_jax.layers.similarity import at_least_float32, masked_mean, masked_softmax


@struct.dataclass
class Message:
    """What nodes get from one group of senders.

    value: [..., H, i, k]. log_weight: [..., H, i], logsumexp of the edge logits.
    """

    value: Array
    log_weight: Array


@struct.dataclass
class FrameSide:
    """What one layer needs of the frames alone. Leaves lead with texts (or 1) × videos.

    mask: [..., M]. own: [..., H, M, k], W_o f, or None. within: message from frames to frames. values: [..., H, M, k],
    W^{tf} f. receive, send: [..., H, M], logits of text–frame edges. Of the last layer only mask and the two
    logits are there.
    """

    mask: Array
    receive: Array
    send: Array
    own: Array | None = None
    within: Message | None = None
    values: Array | None = None


def _folded(x: Float[Array, "*batch n d"], relation: Relation) -> tuple[Array, Array]:
    """a_l · W^h x and a_r · W^h x as [..., H, n] each."""
    both = jnp.stack([relation.receive, relation.send], axis=-1)
    vectors = (relation.kernel @ both).astype(x.dtype)  # [d, H, 2]
    logits = at_least_float32(x @ vectors.reshape(x.shape[-1], -1))
    logits = jnp.swapaxes(logits, -1, -2).reshape(*x.shape[:-2], *vectors.shape[1:], x.shape[-2])
    return logits[..., 0, :], logits[..., 1, :]


def _project(x: Float[Array, "*batch n d"], kernel: Float[Array, "d heads k"]) -> Float[Array, "*batch heads n k"]:
    flat = x @ kernel.reshape(kernel.shape[0], -1).astype(x.dtype)
    return jnp.swapaxes(flat.reshape(*x.shape[:-1], *kernel.shape[1:]), -3, -2)


def _edge_weights(
    receive: Float[Array, "*#batch H i"], send: Float[Array, "*#batch H j"], senders: Bool[Array, "*#batch j"]
) -> tuple[Float[Array, "*batch H i j"], Float[Array, "*batch H i"]]:
    """Attention of receivers i over senders j, and the logsumexp that normalises it (−inf stands for no sender)."""
    logits = jax.nn.leaky_relu(receive[..., :, None] + send[..., None, :], LEAKY_SLOPE)
    mask = senders[..., None, None, :]
    lowest = jnp.finfo(logits.dtype).min
    return masked_softmax(logits, mask), jax.nn.logsumexp(jnp.where(mask, logits, lowest), axis=-1)


def _attend(receive: Array, send: Array, values: Array, senders: Array) -> Message:
    """Message of projected values [..., H, j, k]."""
    weights, log_weight = _edge_weights(receive, send, senders)
    return Message(weights.astype(values.dtype) @ values, log_weight)


def _attend_then_project(receive: Array, send: Array, x: Array, senders: Array, kernel: Array) -> Message:
    """The same message from unprojected senders x [..., j, d], projected after mixing."""
    weights, log_weight = _edge_weights(receive, send, senders)
    weights, kernel = weights.astype(x.dtype), kernel.astype(x.dtype)
    # A loop over heads, because one product over all would first have to lay its operands out anew.
    by_head = [(weights[..., head, :, :] @ x) @ kernel[:, head] for head in range(kernel.shape[1])]
    return Message(jnp.stack(by_head, axis=-3), log_weight)


def _joined(own: Array | None, one: Message, other: Message) -> Array:
    """Output of nodes from their own part and the messages of the two groups.

    Separate relations add up. The GAT's one relation has one softmax over both groups: their parts weigh as their
    summed exponentials, which is how attention over a split set is put together.
    """
    if own is None:  # GAT
        share = jax.nn.sigmoid(one.log_weight - other.log_weight)[..., None]
        return share * one.value + (1 - share) * other.value
    return own + one.value + other.value


def frame_side(
    shape: GraphShape, layer: Layer, x: Float[Array, "*batch M d"], mask: Bool[Array, "*#batch M"], last: bool
) -> FrameSide:
    """The frames' part of one layer. x: node features of the frames."""
    across, within = layer.of(TEXT_FRAME), layer.of(FRAME_FRAME)
    receive, send = _folded(x, across)
    if last:
        return FrameSide(mask, receive, send)
    values = _project(x, across.kernel)
    inner = values if within is across else _project(x, within.kernel)
    senders = mask if shape.frame_frame_edges else jnp.zeros_like(mask)
    message = _attend(*_folded(x, within), inner, senders)
    own = None if layer.residual is None else _project(x, layer.residual)
    return FrameSide(mask, receive, send, own, message, values)


def prepare_frames(
    shape: GraphShape, layers: tuple[Layer, ...], frames: Float[Array, "Bv M d"], mask: Bool[Array, "Bv M"]
) -> FrameSide:
    """All that the first layer needs of each video. Leaves lead with the video."""
    return frame_side(shape, layers[0], frames, mask, last=shape.layers == 1)


def _layer(shape: GraphShape, layer: Layer, frames: FrameSide, texts: Array) -> tuple[Array, Array]:
    """Node features of frames [..., M, d] and texts [..., S + 1, d] after one layer that is not the last."""
    assert frames.values is not None and frames.within is not None  # only the last layer's side lacks them
    across, within = layer.of(TEXT_FRAME), layer.of(TEXT_TEXT)
    every_text = jnp.ones(texts.shape[-2], bool)
    receive, send = _folded(texts, across)
    projected = _project(texts, within.kernel)
    if within is across:
        to_frames = _attend(frames.receive, send, projected, every_text)
    elif frames.mask.shape[-1] < texts.shape[-2]:
        to_frames = _attend_then_project(frames.receive, send, texts, every_text, across.kernel)
    else:
        to_frames = _attend(frames.receive, send, _project(texts, across.kernel), every_text)
    to_texts = _attend(receive, frames.send, frames.values, frames.mask)
    among_texts = _attend(*_folded(texts, within), projected, every_text)
    own = None if layer.residual is None else _project(texts, layer.residual)
    new_frames = _joined(frames.own, frames.within, to_frames)
    new_texts = _joined(own, among_texts, to_texts)
    return _activated(new_frames), _activated(new_texts)


def _activated(heads: Float[Array, "*batch H n k"]) -> Float[Array, "*batch n width"]:
    by_node = jnp.swapaxes(heads, -3, -2)
    return jax.nn.relu(by_node.reshape(*by_node.shape[:-2], -1))


def _readout(shape: GraphShape, layer: Layer, frames: FrameSide, texts: Array) -> Float[Array, "*pairs texts"]:
    receive, send = _folded(texts, layer.of(TEXT_FRAME))
    if shape.readout == "released":
        logits = jax.nn.leaky_relu(send[..., :, None] + frames.receive[..., None, :], LEAKY_SLOPE)
    else:
        logits = receive[..., :, None] + frames.send[..., None, :]
    return jnp.mean(masked_mean(logits, frames.mask[..., None, None, :]), axis=-2)


def candidate_weights(
    shape: GraphShape,
    layers: tuple[Layer, ...],
    video: FrameSide,
    texts: Float[Array, "Bt Bv texts d"],
    draws: Draws,
    ids: Ids,
) -> Float[Array, "Bt Bv texts"]:
    """Weights w of the text nodes of every pair.

    video: from `prepare_frames`. ids: of the pairs, for dropout in training.
    """
    frames = jax.tree.map(lambda leaf: leaf[None], video)
    for index, layer in enumerate(layers[:-1]):
        frame_features, texts = _layer(shape, layer, frames, texts)
        frame_features = draws.dropout(f"graph_dropout_frames_{index}", ids, frame_features, shape.dropout_rate)
        texts = draws.dropout(f"graph_dropout_texts_{index}", ids, texts, shape.dropout_rate)
        frames = frame_side(shape, layers[index + 1], frame_features, frames.mask, last=index + 2 == shape.layers)
    return jax.nn.softmax(_readout(shape, layers[-1], frames, texts), axis=-1)
