"""Transformer over the frames of a video: CLIP4Clip's `seqTransf` (docs/systems.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.layers import block_class


class TemporalTransformer(nn.Module):
    """Frame transformer f + transformer(f + positions), with the pre-norm blocks of CLIP's text tower, not causal.

    Attributes:
        width: d.
        positions: Number of learned frame positions, at least M (the released program has as many as CLIP has text
            positions).
        layers: Number of blocks.
        heads: Attention heads of a block.
        epsilon: ε of the layer normalisations.
        position_std: Standard deviation of the initial positions.
    """

    width: int
    positions: int
    layers: int
    heads: int
    epsilon: float = 1e-5
    position_std: float = 0.01

    @nn.compact
    def __call__(self, frames: Float[Array, "B M d"], mask: Bool[Array, "B M"]) -> Float[Array, "B M d"]:
        """Let the frames of each video attend to each other.

        Args:
            frames: Frame features.
            mask: True at real frames. Padding frames are not attended to, and their outputs are undefined.

        Raises:
            ValueError: There are more frames than positions.
        """
        count = frames.shape[1]
        if count > self.positions:
            raise ValueError(f"the temporal transformer has {self.positions} positions, the videos {count} frames")
        places = self.param("positions", nn.initializers.normal(self.position_std), (self.positions, self.width))
        x = frames + places[:count].astype(frames.dtype)
        block = block_class(self)
        for index in range(self.layers):
            x = block(self.heads, self.layers, "quick_gelu", False, frames.dtype, self.epsilon, name=f"block_{index}")(
                x, valid=mask
            )
        return frames + x


def from_text_tower(params: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Initialise a temporal transformer from the first blocks and the positions of CLIP's text tower.

    The arrays are copies, so that both trees can be donated to a step.

    Args:
        params: Parameters of the temporal transformer.
        text: Parameters of the text tower.

    Returns:
        Parameters of the temporal transformer. Entries that the tower lacks, or has in another shape, are those of
        `params`; of positions, those after the tower's last.
    """

    def same_shapes(one: Any, other: Any) -> bool:
        return bool(jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other))

    sources = {name: text.get("position_embedding" if name == "positions" else name) for name in params}
    sources = {name: value for name, value in sources.items() if value is not None}
    own, given = params.get("positions"), sources.get("positions")
    if own is not None and given is not None and len(given) < len(own) and given.shape[1:] == own.shape[1:]:
        sources["positions"] = jnp.concatenate([given, own[len(given) :]])
    return {
        name: jax.tree.map(jnp.array, sources[name] if name in sources and same_shapes(value, sources[name]) else value)
        for name, value in params.items()
    }
