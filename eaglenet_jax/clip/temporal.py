"""A transformer over the frames of a video: CLIP4Clip's `seqTransf` (docs/systems.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.layers import Block


class TemporalTransformer(nn.Module):
    """f + transformer(f + positions): pre-norm blocks as CLIP's text tower has them, without its causal mask.

    width: d. positions: learned frame positions, at least M (the released program has as many as CLIP has text
    positions). layers, heads: of the transformer.
    """

    width: int
    positions: int
    layers: int
    heads: int

    @nn.compact
    def __call__(self, frames: Float[Array, "B M d"], mask: Bool[Array, "B M"]) -> Float[Array, "B M d"]:
        """Frames that have seen each other. mask: real frames; padding is seen by none, and its rows mean nothing.

        Errors: ValueError when there are more frames than positions.
        """
        count = frames.shape[1]
        if count > self.positions:
            raise ValueError(f"the temporal transformer has {self.positions} positions, the videos {count} frames")
        places = self.param("positions", nn.initializers.normal(0.01), (self.positions, self.width))
        x = frames + places[:count].astype(frames.dtype)
        for index in range(self.layers):
            x = Block(self.heads, self.layers, "quick_gelu", False, frames.dtype, name=f"block_{index}")(x, valid=mask)
        return frames + x


def from_text_tower(params: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a temporal transformer that start as the first blocks and the positions of CLIP's text tower.

    Copies, so that both can be donated to a step. What the tower has not, or has in another size, stays as it is.
    """

    def same_shapes(one: Any, other: Any) -> bool:
        return bool(jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other))

    sources = {name: text.get("position_embedding" if name == "positions" else name) for name in params}
    sources = {name: value for name, value in sources.items() if value is not None}
    return {
        name: jax.tree.map(jnp.array, sources[name] if name in sources and same_shapes(value, sources[name]) else value)
        for name, value in params.items()
    }
