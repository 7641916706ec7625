"""CLIP as used in retrieval: two encoders that map captions and frames into one feature space."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.text import TextTower
from eaglenet_jax.clip.vision import VisionTower


class Clip(nn.Module):
    """CLIP (Radford et al. 2021) for captions and frames of videos, without a logit scale, which belongs to a head.

    Used functionally: Clip(config).apply({"params": params}, tokens, method="encode_text").

    Attributes:
        config: Sizes and computation settings.
    """

    config: ClipConfig

    def setup(self) -> None:
        """Build the two towers."""
        self.text = TextTower(self.config)
        self.vision = VisionTower(self.config)

    def encode_text(
        self, tokens: Int[Array, "B L"], words: bool = False
    ) -> tuple[Float[Array, "B d"], Float[Array, "B L d"] | None]:
        """Encode captions.

        Args:
            tokens: Ids with start and end token, any length up to context_length.
            words: Return the word states too.

        Returns:
            pooled [B, d], the end-of-text state through the final norm and projection, not of unit length; words [B, L,
            d], the same of every position, or None unless asked for.

        Raises:
            UserError: There are more tokens than context_length.
        """
        return self.text(tokens, words)

    def encode_video(
        self, frames: Array, frame_mask: Bool[Array, "B M"], patches: bool = False
    ) -> tuple[Float[Array, "B M d"], Float[Array, "B M P d"] | None]:
        """Encode the frames of videos.

        Args:
            frames: [B, M, H, W, 3], uint8 RGB (normalised here) or floats that are normalised already.
            frame_mask: True for real frames, which come first. Padding frames have zero features unless `mask_padding`
                is off.
            patches: Return the patch states too.

        Returns:
            frames [B, M, d], the class token through the last norm and projection, not of unit length; patches [B, M,
            P, d], the same of every patch, or None unless asked for.

        Raises:
            UserError: The frames have another size than image_size.
        """
        return self.vision(frames, frame_mask, patches)

    def __call__(self, tokens: Int[Array, "B L"], frames: Array, frame_mask: Bool[Array, "B M"]) -> tuple[Array, Array]:
        """Run both encoders, for `init`: (pooled captions, frame features)."""
        return self.encode_text(tokens)[0], self.encode_video(frames, frame_mask)[0]
