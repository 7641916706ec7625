"""CLIP as a retrieval system uses it: two encoders whose features meet in one space."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.text import TextTower
from eaglenet_jax.clip.vision import VisionTower


class Clip(nn.Module):
    """CLIP (Radford et al. 2021) for captions and frames of videos. It has no logit scale: that belongs to a head.

    Used functionally: Clip(config).apply({"params": params}, tokens, method="encode_text").
    """

    config: ClipConfig

    def setup(self) -> None:
        """The two towers."""
        self.text = TextTower(self.config)
        self.vision = VisionTower(self.config)

    def encode_text(
        self, tokens: Int[Array, "B L"], words: bool = False
    ) -> tuple[Float[Array, "B d"], Float[Array, "B L d"] | None]:
        """Captions → (pooled [B, d], words [B, L, d]).

        tokens: ids with start and end token, any length up to context_length. pooled: end-of-text state through the
        final norm and projection, not of unit length. words: the same of every position, None unless asked for.
        """
        return self.text(tokens, words)

    def encode_video(
        self, frames: Array, frame_mask: Bool[Array, "B M"], patches: bool = False
    ) -> tuple[Float[Array, "B M d"], Float[Array, "B M P d"] | None]:
        """Frames → (frames [B, M, d], patches [B, M, P, d]).

        frames: [B, M, H, W, 3], uint8 RGB (normalised here) or floats that are normalised already. frame_mask: True for
        real frames, which come first; padding frames have zero features unless `mask_padding` is off. frames out: class
        token through the last norm and projection, not of unit length. patches: the same of every patch, None unless
        asked for.
        """
        return self.vision(frames, frame_mask, patches)

    def __call__(self, tokens: Int[Array, "B L"], frames: Array, frame_mask: Bool[Array, "B M"]) -> tuple[Array, Array]:
        """Both encoders at once, for `init`: (pooled captions, frame features)."""
        return self.encode_text(tokens)[0], self.encode_video(frames, frame_mask)[0]
