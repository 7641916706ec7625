"""Vision encoder of BLIP-2, EVA-CLIP's ViT-g/14: frames to tokens, without a projection.

It differs from CLIP's tower: no normalisation before the blocks, a bias of the patch embedding, exact GELU, an MLP that
is not four times as wide as the stream, ε 1e-6. Queries and values have a bias and keys have none; the three lie in
one array as in Hugging Face's checkpoints, where the part of the keys is zero. A bias of the keys would change nothing:
it adds the same number to all logits of a query.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.layers import block_class, layer_norm
from eaglenet_jax.clip.vision import image_patches, normalised_pixels
from eaglenet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class EvaConfig:
    """Sizes of the encoder, by default ViT-g/14 as BLIP-2 has it.

    Attributes:
        width: Width of the tokens.
        layers: Blocks.
        heads: Attention heads.
        hidden: Hidden width of the MLPs.
        image_size: Height and width of a frame in pixels.
        patch_size: Height and width of a patch in pixels.
        epsilon: ε of the layer normalisations.
        dtype: Compute type.

    Raises:
        UserError: The sizes do not fit together.
    """

    width: int = 1408
    layers: int = 39
    heads: int = 16
    hidden: int = 6144
    image_size: int = 224
    patch_size: int = 14
    epsilon: float = 1e-6
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Raise UserError for sizes that do not fit together."""
        for whole, part in (("width", "heads"), ("image_size", "patch_size")):
            if getattr(self, whole) % getattr(self, part):
                raise UserError(
                    f"BLIP-2's vision encoder: {whole} {getattr(self, whole)} is no multiple of {part} "
                    f"{getattr(self, part)}; copy its config.json again"
                )

    @property
    def tokens(self) -> int:
        """Number of tokens of a frame, class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1


class EvaVision(nn.Module):
    """The encoder. Used functionally: EvaVision(config).apply({"params": params}, frames, mask).

    Attributes:
        config: Sizes.
    """

    config: EvaConfig

    @nn.compact
    def __call__(self, frames: Array, frame_mask: Bool[Array, "B M"]) -> Float[Array, "B M n w"]:
        """Encode the frames of videos.

        Args:
            frames: [B, M, H, W, 3], uint8 RGB (normalised here, with CLIP's mean and deviation) or floats that are
                normalised already.
            frame_mask: True for real frames; the tokens of others are zero.

        Returns:
            All tokens after the last normalisation, class token first.

        Raises:
            UserError: The frames have another size than image_size.
        """
        config, dtype = self.config, self.config.dtype
        expected = (config.image_size, config.image_size, 3)
        if frames.shape[2:] != expected:
            raise UserError(f"frames are {frames.shape[2:]} (height, width, RGB), BLIP-2's encoder takes {expected}")
        pixels = normalised_pixels(frames, frame_mask, dtype)
        patches = image_patches(pixels.reshape(-1, *expected), config.patch_size)
        start = nn.initializers.normal(0.02)
        x = nn.Dense(config.width, kernel_init=start, dtype=dtype, name="patch_embedding")(patches)
        class_token = self.param("class_embedding", start, (config.width,)).astype(dtype)
        x = jnp.concatenate([jnp.broadcast_to(class_token, (x.shape[0], 1, config.width)), x], axis=1)
        x = x + self.param("position_embedding", start, (config.tokens, config.width)).astype(dtype)
        block = block_class(self)
        for index in range(config.layers):
            x = block(
                heads=config.heads,
                depth=config.layers,
                activation="gelu",
                causal=False,
                dtype=dtype,
                epsilon=config.epsilon,
                hidden=config.hidden,
                name=f"block_{index}",
            )(x)
        x = layer_norm(dtype, "norm_post", config.epsilon)(x).reshape(*frame_mask.shape, config.tokens, config.width)
        return jnp.where(frame_mask[..., None, None], x, 0)
