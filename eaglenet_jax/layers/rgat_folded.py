"""Efficient read-out of the relational graph attention network, equal to the dense definition in `rgat.py`.

Frames and texts are kept apart, and every array has two leading axes: texts × videos, with size 1 where nothing depends
on that axis. In the first layer the frames do not depend on the text, so `prepare_frames` computes their part once per
video; deeper layers run the same functions with frames that have a text axis. Three identities save the rest of the
work (docs/systems.md section 5):

    a · (W^h x) = (W^hᵀ a) · x                      logits from one folded vector a head, no projection
    Σ_j α_ij (W^h x_j) = W^h (Σ_j α_ij x_j)         mix first and project after, where receivers are fewer than senders
    of the last layer only text–frame logits are read, so it needs no projection, no messages and no other relation.

A layer has two forms with the same numbers. On a CPU arithmetic bounds it: mixed first, heads in front of nodes. On
anything else memory does: all that is read of the text nodes comes out of one product, and heads stay inside a node, so
that nothing is laid out again (docs/scoring.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
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
    """Attention output of nodes from one group of senders.

    Attributes:
        value: [..., H, i, k].
        log_weight: [..., H, i], logsumexp of the edge logits.
    """

    value: Array
    log_weight: Array


@struct.dataclass
class FrameSide:
    """Part of one layer that depends on the frames alone. Leaves lead with texts (or 1) × videos.

    The last layer has only the mask and the two logits.

    Attributes:
        mask: [..., M], True at valid frames.
        receive: [..., H, M], logits of text–frame edges with the frame as receiver.
        send: [..., H, M], logits of text–frame edges with the frame as sender.
        own: [..., H, M, k], W_o f, or None.
        within: Message from frames to frames.
        values: [..., H, M, k], W^{tf} f.
    """

    mask: Array
    receive: Array
    send: Array
    own: Array | None = None
    within: Message | None = None
    values: Array | None = None


def relation_vectors(relation: Relation) -> Float[Array, "d H 2"]:
    """Compute W^hᵀ a_l and W^hᵀ a_r."""
    return relation.kernel @ jnp.stack([relation.receive, relation.send], axis=-1)


def _folded(x: Float[Array, "*batch n d"], relation: Relation) -> tuple[Array, Array]:
    """Compute a_l · W^h x and a_r · W^h x, each [..., H, n]."""
    vectors = relation_vectors(relation).astype(x.dtype)
    return _by_head(x @ vectors.reshape(x.shape[-1], -1))


def _by_head(logits: Float[Array, "*batch n both"]) -> tuple[Array, Array]:
    """Take the two logits of every node and head apart, each [..., H, n]."""
    logits = jnp.swapaxes(at_least_float32(logits), -1, -2)
    logits = logits.reshape(*logits.shape[:-2], -1, 2, logits.shape[-1])
    return logits[..., 0, :], logits[..., 1, :]


def _project(x: Float[Array, "*batch n d"], kernel: Float[Array, "d heads k"]) -> Float[Array, "*batch heads n k"]:
    """Apply a kernel to nodes, with the heads as an axis before the nodes."""
    flat = x @ kernel.reshape(kernel.shape[0], -1).astype(x.dtype)
    return jnp.swapaxes(flat.reshape(*x.shape[:-1], *kernel.shape[1:]), -3, -2)


def _edge_weights(
    receive: Float[Array, "*#batch H i"], send: Float[Array, "*#batch H j"], senders: Bool[Array, "*#batch j"]
) -> tuple[Float[Array, "*batch H i j"], Float[Array, "*batch H i"]]:
    """Compute the attention of receivers i over senders j and its logsumexp (lowest float where there is no sender)."""
    logits = jax.nn.leaky_relu(receive[..., :, None] + send[..., None, :], LEAKY_SLOPE)
    mask = senders[..., None, None, :]
    lowest = jnp.finfo(logits.dtype).min
    return masked_softmax(logits, mask), jax.nn.logsumexp(jnp.where(mask, logits, lowest), axis=-1)


def _attend(receive: Array, send: Array, values: Array, senders: Array) -> Message:
    """Compute the message of projected values [..., H, j, k]."""
    weights, log_weight = _edge_weights(receive, send, senders)
    return Message(weights.astype(values.dtype) @ values, log_weight)


def _attend_then_project(receive: Array, send: Array, x: Array, senders: Array, kernel: Array) -> Message:
    """Compute the same message from unprojected senders x [..., j, d], projected after mixing."""
    weights, log_weight = _edge_weights(receive, send, senders)
    weights, kernel = weights.astype(x.dtype), kernel.astype(x.dtype)
    # A loop over heads, because one product over all of them would first have to copy its operands to another layout.
    by_head = [(weights[..., head, :, :] @ x) @ kernel[:, head] for head in range(kernel.shape[1])]
    return Message(jnp.stack(by_head, axis=-3), log_weight)


def _joined(own: Array | None, one: Message, other: Message) -> Array:
    """Combine the nodes' own part with the messages of two groups of senders.

    Separate relations add up. The GAT's one relation has one softmax over both groups: their parts are weighted by the
    groups' summed exponentials, which is exact for attention over a split set.
    """
    if own is None:  # GAT
        share = jax.nn.sigmoid(one.log_weight - other.log_weight)[..., None]
        return share * one.value + (1 - share) * other.value
    return own + one.value + other.value


def frame_side(
    shape: GraphShape,
    layer: Layer,
    x: Float[Array, "*batch M d"],
    mask: Bool[Array, "*#batch M"],
    last: bool,
) -> FrameSide:
    """Compute the frames' part of one layer.

    Args:
        shape: Structure of the network.
        layer: Parameters of the layer.
        x: Node features of the frames.
        mask: True at valid frames.
        last: Whether it is the last layer, which needs only logits.
    """
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
    """Compute all that the first layer needs of each video. Leaves lead with the video."""
    return frame_side(shape, layers[0], frames, mask, last=shape.layers == 1)


def _layer(shape: GraphShape, layer: Layer, frames: FrameSide, texts: Array) -> tuple[Array, Array]:
    """Compute node features of frames [..., M, d] and texts [..., S + 1, d] after one layer that is not the last."""
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


def _kernels(layer: Layer) -> tuple[list[Relation], list[Array], list[Float[Array, "d columns"]]]:
    """Return the relations that texts send in, the residual if there is one, and all that the texts are multiplied by.

    That is the kernels of the relations, text–text first, W_o, and the folded vectors of the relations.
    """
    across, within = layer.of(TEXT_FRAME), layer.of(TEXT_TEXT)
    relations = [within] if within is across else [within, across]
    residual = [] if layer.residual is None else [layer.residual]
    kernels = [*(each.kernel for each in relations), *residual, *map(relation_vectors, relations)]
    return relations, residual, [kernel.reshape(kernel.shape[0], -1) for kernel in kernels]


def read_once(layer: Layer, texts: Float[Array, "*batch texts d"]) -> Float[Array, "*batch texts columns"]:
    """Compute all that a layer reads of the text nodes by one product.

    Args:
        layer: Parameters of a layer that is not the last.
        texts: Text nodes.

    Returns:
        Columns: values of text–text and text–frame [H · k] each, W_o t [H · k], or [k] where the heads share it, and of
        both relations the logits [H · 2] as receiver and sender. A GAT has one relation and no W_o.
    """
    return texts @ jnp.concatenate(_kernels(layer)[-1], axis=-1).astype(texts.dtype)


def _layer_with_few_reads(shape: GraphShape, layer: Layer, frames: FrameSide, texts: Array) -> tuple[Array, Array]:
    """Compute the same as `_layer`, all that is read of the texts by one product, with the heads inside the nodes."""
    assert frames.values is not None and frames.within is not None  # only the last layer's side lacks them
    within = layer.of(TEXT_TEXT)
    relations, residual, kernels = _kernels(layer)
    ends = np.cumsum([kernel.shape[1] for kernel in kernels])[:-1]
    found = jnp.split(read_once(layer, texts), ends, axis=-1)
    within_values, across_values = found[0], found[len(relations) - 1]
    logits = [_by_head(part) for part in found[-len(relations) :]]
    own = found[len(relations)].reshape(*texts.shape[:-1], *residual[0].shape[1:]) if residual else None
    heads, every_text = within.kernel.shape[1], jnp.ones(texts.shape[-2], bool)
    receive, send = logits[-1]
    to_frames = _attend_inside(frames.receive, send, jnp.split(across_values, heads, axis=-1), every_text)
    to_texts = _attend_inside(receive, frames.send, jnp.moveaxis(frames.values, -3, 0), frames.mask)
    among_texts = _attend_inside(*logits[0], jnp.split(within_values, heads, axis=-1), every_text)
    among_frames = Message(jnp.swapaxes(frames.within.value, -3, -2), jnp.swapaxes(frames.within.log_weight, -2, -1))
    own_frames = None if frames.own is None else jnp.swapaxes(frames.own, -3, -2)
    new = _joined(own_frames, among_frames, to_frames), _joined(own, among_texts, to_texts)
    new_frames, new_texts = (jax.nn.relu(nodes.reshape(*nodes.shape[:-2], -1)) for nodes in new)
    return new_frames, new_texts


def _attend_inside(receive: Array, send: Array, values: Iterable[Array], senders: Array) -> Message:
    """Compute the message of values [..., j, k] by head as value [..., i, H, k] and log_weight [..., i, H].

    A product a head reads its part of the nodes where it lies; one product over all heads would first have to bring
    them in front of the nodes.
    """
    weights, log_weight = _edge_weights(receive, send, senders)
    by_head = [weights[..., head, :, :].astype(part.dtype) @ part for head, part in enumerate(values)]
    return Message(jnp.stack(by_head, axis=-2), jnp.swapaxes(log_weight, -2, -1))


def _activated(heads: Float[Array, "*batch H n k"]) -> Float[Array, "*batch n width"]:
    """Concatenate the heads of every node and apply ReLU."""
    by_node = jnp.swapaxes(heads, -3, -2)
    return jax.nn.relu(by_node.reshape(*by_node.shape[:-2], -1))


def _readout(shape: GraphShape, layer: Layer, frames: FrameSide, texts: Array) -> Float[Array, "*pairs texts"]:
    """Compute e_i of every text node, as `rgat.candidate_logits`."""
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
    few_reads: bool | None = None,
) -> Float[Array, "Bt Bv texts"]:
    """Compute the weights w of the text nodes of every pair.

    Args:
        shape: Structure of the network.
        layers: Parameters, first layer to last.
        video: From `prepare_frames`.
        texts: The text and its candidates, by pair.
        draws: Source of the dropout masks.
        ids: Ids of the pairs, for dropout in training.
        few_reads: Compute in the form that reads memory least; by default on anything but a CPU. The numbers are the
            same to float tolerance.
    """
    few_reads = jax.default_backend() != "cpu" if few_reads is None else few_reads
    one_layer = _layer_with_few_reads if few_reads else _layer
    frames = jax.tree.map(lambda leaf: leaf[None], video)
    for index, layer in enumerate(layers[:-1]):
        frame_features, texts = one_layer(shape, layer, frames, texts)
        frame_features = draws.dropout(f"graph_dropout_frames_{index}", ids, frame_features, shape.dropout_rate)
        texts = draws.dropout(f"graph_dropout_texts_{index}", ids, texts, shape.dropout_rate)
        last = index + 2 == shape.layers
        frames = frame_side(shape, layers[index + 1], frame_features, frames.mask, last)
    return jax.nn.softmax(_readout(shape, layers[-1], frames, texts), axis=-1)
