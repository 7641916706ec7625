"""EagleNet with its graph computed by definition, to compare the folded scoring with.

All nodes, relations and layers of every pair, over dense adjacency matrices, as in `layers/rgat.py`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eaglenet_jax.draws import Draws, Ids
from eaglenet_jax.heads.eaglenet import EagleNet, PreparedVideo
from eaglenet_jax.heads.interface import PairScores, PreparedText
from eaglenet_jax.layers.rgat import adjacency, candidate_logits, dense_layer
from eaglenet_jax.layers.similarity import cosine
from eaglenet_jax.layers.stochastic_text import candidates, frame_similarities


class DenseEagleNet(EagleNet):  # type: ignore[misc]  # as EagleNet
    """EagleNet with a dense graph: the same numbers from the same parameters, in score and loss.

    The graph part of `prepare_video` is not read.

    Attributes:
        all_nodes: Return the outputs of the last layer's nodes in aux, [Bt, Bv, n, H, d]. No similarity depends on
          them, so
            a compiler drops most of their work unless they are returned.
    """

    all_nodes: bool = False

    def score(self, text: PreparedText, video: PreparedVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Compute cos(t_gen, v(t_gen, F)) for all pairs. aux: "pooled", "radius", and "nodes" if all_nodes."""
        ids = (text.id[:, None], video.id[None, :])
        radius = self.radius(frame_similarities(text.pooled, video.frames, video.mask))
        draw = draws.uniform if self.candidate_noise == "uniform" else draws.normal
        noise = draw("candidates", draws.pair_ids(text.id, video.id), (self.candidates, self.width))
        cloud = candidates(text.pooled[:, None], radius, noise)
        itself = jnp.broadcast_to(text.pooled[:, None, None], (*cloud.shape[:2], 1, self.width))
        texts = self._computed(jnp.concatenate([itself.astype(cloud.dtype), cloud], axis=2))
        weights, nodes = self._graph(video, texts, draws, ids)
        generated = jnp.einsum("tvs,tvsd->tvd", weights, texts)
        pooled = self.pooling(generated, video.pooling, draws, ids)
        shown = {"pooled": pooled, "radius": radius} | ({"nodes": nodes} if self.all_nodes else {})
        return PairScores(cosine(generated, pooled), shown if aux else {})

    def _graph(
        self, video: PreparedVideo, texts: Float[Array, "Bt Bv texts d"], draws: Draws, ids: Ids
    ) -> tuple[Array, Array]:
        """Compute the weights of the text nodes, and the last layer's outputs of all nodes."""
        pairs, frames = texts.shape[:2], video.frames.shape[1]
        placed = self._computed(video.frames + self.positions if self.frame_positions else video.frames)
        x = jnp.concatenate([jnp.broadcast_to(placed, (*pairs, *placed.shape[1:])), texts], axis=2)
        mask = jnp.broadcast_to(video.mask, (*pairs, frames))
        edges = adjacency(self.graph, mask, texts.shape[2])
        layers = self.relations()
        for index, layer in enumerate(layers[:-1]):
            x = jax.nn.relu(dense_layer(layer, x, edges).reshape(x.shape))
            parts = (("frames", x[:, :, :frames]), ("texts", x[:, :, frames:]))
            dropped = [
                draws.dropout(f"graph_dropout_{name}_{index}", ids, part, self.graph.dropout_rate)
                for name, part in parts
            ]
            x = jnp.concatenate(dropped, axis=2)
        weights = jax.nn.softmax(candidate_logits(self.graph, layers[-1], x, mask), axis=-1)
        return weights, dense_layer(layers[-1], x, edges)
