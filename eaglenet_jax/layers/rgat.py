"""Relational graph attention over frames and text candidates: parameters and the readable, dense definition.

This file defines the network with one adjacency matrix a relation (docs/systems.md section 2.2). `rgat_folded.py`
computes the same read-out from the same parameters without redundant work; tests compare the two.

Nodes are ordered frames, text, candidates: n = M + 1 + S.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.similarity import masked_mean, masked_softmax

LEAKY_SLOPE = 0.1
TEXT_TEXT, FRAME_FRAME, TEXT_FRAME, EVERY = "text_text", "frame_frame", "text_frame", "every"


@struct.dataclass
class Relation:
    """Parameters of one relation of one layer.

    Attributes:
        kernel: [d, H, k], W^{r,h}.
        receive: [k], a_l, shared by the heads.
        send: [k], a_r, shared by the heads.
    """

    kernel: Array
    receive: Array
    send: Array


@struct.dataclass
class Layer:
    """Parameters of one layer.

    Attributes:
        relations: Relations by name.
        residual: W_o as [d, 1, k] (shared by the heads), [d, H, k], or None (GAT).
    """

    relations: dict[str, Relation]
    residual: Array | None

    def of(self, name: str) -> Relation:
        """Return the relation called `name`; a GAT returns its only relation for every name."""
        return self.relations.get(EVERY) or self.relations[name]


@dataclasses.dataclass(frozen=True)
class GraphShape:
    """Structure of the graph network.

    Attributes:
        width: d.
        layers: L.
        heads: H.
        kind: "rgat", or "gat" (one relation over the complete graph, no W_o).
        shared_residual: W_o maps d → d/H, the same for every head (released), or d → d (paper).
        frame_frame_edges: Whether there are edges between frames (paper, table 9).
        readout: "released" averages edge weights after LeakyReLU with the frame as receiver; "paper" before it, with
            the text as receiver.
        dropout_rate: Dropout of node features between layers.

    Raises:
        ValueError: No network can be built from these values.
    """

    width: int
    layers: int = 2
    heads: int = 4
    kind: str = "rgat"
    shared_residual: bool = True
    frame_frame_edges: bool = True
    readout: str = "released"
    dropout_rate: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError for values that no network can be built from."""
        if self.kind not in ("rgat", "gat"):
            raise ValueError(f"graph kind {self.kind!r} is neither 'rgat' nor 'gat'")
        if self.readout not in ("released", "paper"):
            raise ValueError(f"graph readout {self.readout!r} is neither 'released' nor 'paper'")
        if self.layers < 1 or self.width % self.heads:
            raise ValueError(
                f"graph layers is {self.layers} and heads {self.heads}; give 1 or more layers and heads that divide "
                f"the width {self.width}"
            )


class RelationParameters(nn.Module):
    """Module that holds the parameters of one relation."""

    width: int
    heads: int
    head_width: int

    @nn.compact
    def __call__(self) -> Relation:
        """Return the relation's arrays."""
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=(1, 2))
        vector = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=1)
        return Relation(
            kernel=self.param("kernel", uniform, (self.width, self.heads, self.head_width)),
            receive=self.param("receive", vector, (self.head_width, 1))[:, 0],
            send=self.param("send", vector, (self.head_width, 1))[:, 0],
        )


class LayerParameters(nn.Module):
    """Module that holds the parameters of one layer; the last layer keeps the full width in every head."""

    shape: GraphShape
    last: bool

    @nn.compact
    def __call__(self) -> Layer:
        """Return the layer's arrays."""
        shape = self.shape
        head_width = shape.width if self.last else shape.width // shape.heads
        names = (EVERY,) if shape.kind == "gat" else (TEXT_TEXT, FRAME_FRAME, TEXT_FRAME)
        relations = {name: RelationParameters(shape.width, shape.heads, head_width, name=name)() for name in names}
        if shape.kind == "gat":
            return Layer(relations, None)
        copies = 1 if self.last or shape.shared_residual else shape.heads
        start = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=(1, 2))
        return Layer(relations, self.param("residual", start, (shape.width, copies, head_width)))


class GraphParameters(nn.Module):
    """Module that holds the parameters of all layers."""

    shape: GraphShape

    def setup(self) -> None:
        """Build one module a layer, named layer_0, layer_1, …"""
        last = self.shape.layers - 1
        self.layer = [LayerParameters(self.shape, last=index == last) for index in range(self.shape.layers)]

    def __call__(self) -> tuple[Layer, ...]:
        """Return the layers' arrays, first to last."""
        return tuple(layer() for layer in self.layer)


def adjacency(
    shape: GraphShape, frame_mask: Bool[Array, "*batch M"], texts: int
) -> dict[str, Bool[Array, "*batch n n"]]:
    """Return which node j each node i receives from, by relation; padding frames send nothing.

    Args:
        shape: Structure of the network.
        frame_mask: True at valid frames.
        texts: Number of text nodes, 1 + S.
    """
    frames = frame_mask.shape[-1]
    is_text = jnp.arange(frames + texts) >= frames
    sends = jnp.concatenate([frame_mask, jnp.ones((*frame_mask.shape[:-1], texts), bool)], axis=-1)[..., None, :]
    both_text = is_text[:, None] & is_text[None, :]
    both_frame = ~is_text[:, None] & ~is_text[None, :]
    across = is_text[:, None] != is_text[None, :]
    if shape.kind == "gat":
        edges = {EVERY: both_text | across | (both_frame & shape.frame_frame_edges)}
    else:
        edges = {TEXT_TEXT: both_text, FRAME_FRAME: both_frame & shape.frame_frame_edges, TEXT_FRAME: across}
    return {name: edge & sends for name, edge in edges.items()}


def projected(relation: Relation, x: Float[Array, "*batch n d"]) -> Float[Array, "*batch H n k"]:
    """Compute z^h_i = W^h x_i of every node and head."""
    return jnp.einsum("...nd,dhk->...hnk", x, relation.kernel)


def edge_logits(relation: Relation, z: Float[Array, "*batch H n k"]) -> Float[Array, "*batch H n n"]:
    """Compute a_l · z_i + a_r · z_j, before LeakyReLU.

    Returns:
        Logits of every receiving node i (rows) and sending node j (columns).
    """
    return (z @ relation.receive)[..., :, None] + (z @ relation.send)[..., None, :]


def dense_layer(
    layer: Layer, x: Float[Array, "*batch n d"], edges: dict[str, Bool[Array, "*batch n n"]]
) -> Float[Array, "*batch n H k"]:
    """Compute out^h_i = W_o x_i + Σ_r Σ_j α^{r,h}_ij z^{r,h}_j for all nodes, relations and heads."""
    out = jnp.zeros((), x.dtype) if layer.residual is None else jnp.einsum("...nd,dhk->...nhk", x, layer.residual)
    for name, relation in layer.relations.items():
        z = projected(relation, x)
        logits = jax.nn.leaky_relu(edge_logits(relation, z), LEAKY_SLOPE)
        weights = masked_softmax(logits, edges[name][..., None, :, :])
        out = out + jnp.einsum("...hij,...hjk->...ihk", weights, z)
    return out


def candidate_logits(
    shape: GraphShape, layer: Layer, x: Float[Array, "*batch n d"], frame_mask: Bool[Array, "*batch M"]
) -> Float[Array, "*batch texts"]:
    """Compute e_i of every text node.

    e_i is the mean over heads and valid frames of the last layer's text–frame edge weights.
    """
    frames = frame_mask.shape[-1]
    across = layer.of(TEXT_FRAME)
    logits = edge_logits(across, projected(across, x))
    if shape.readout == "released":
        between = jnp.swapaxes(jax.nn.leaky_relu(logits[..., :frames, frames:], LEAKY_SLOPE), -1, -2)
    else:
        between = logits[..., frames:, :frames]
    return jnp.mean(masked_mean(between, frame_mask[..., None, None, :]), axis=-2)


def dense_candidate_weights(
    shape: GraphShape,
    layers: tuple[Layer, ...],
    frames: Float[Array, "*batch M d"],
    texts: Float[Array, "*batch texts d"],
    frame_mask: Bool[Array, "*batch M"],
) -> Float[Array, "*batch texts"]:
    """Compute the weights w of the text nodes by the definition, without dropout.

    Args:
        shape: Structure of the network.
        layers: Parameters, first layer to last.
        frames: Frame features with their positions added.
        texts: The text and its candidates.
        frame_mask: True at valid frames.
    """
    x = jnp.concatenate([frames, texts], axis=-2)
    edges = adjacency(shape, frame_mask, texts.shape[-2])
    for layer in layers[:-1]:
        heads = dense_layer(layer, x, edges)
        x = jax.nn.relu(heads.reshape(x.shape))
    return jax.nn.softmax(candidate_logits(shape, layers[-1], x, frame_mask), axis=-1)
