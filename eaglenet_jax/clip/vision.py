"""Vision transformer: frames to class-token features and patch states."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.layers import block_class, layer_norm
from eaglenet_jax.errors import UserError

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def normalised_pixels(
    frames: UInt8[Array, "B M H W 3"] | Float[Array, "B M H W 3"], frame_mask: Bool[Array, "B M"], dtype: str
) -> Float[Array, "B M H W 3"]:
    """Normalise uint8 RGB as (x/255 − mean)/std and set padding frames to zero.

    Floats are taken as normalised already.
    """
    if frames.dtype == jnp.uint8:
        exact = jnp.promote_types(dtype, jnp.float32)
        frames = (frames.astype(exact) / 255 - jnp.asarray(PIXEL_MEAN, exact)) / jnp.asarray(PIXEL_STD, exact)
    return jnp.where(frame_mask[:, :, None, None, None], frames, 0).astype(dtype)


def image_patches(images: Float[Array, "N H W 3"], patch_size: int) -> Float[Array, "N P e"]:
    """Cut images into flat patches.

    Args:
        images: Images whose sides are multiples of patch_size.
        patch_size: Height and width of a patch in pixels.

    Returns:
        Non-overlapping patches in row-major order, each flattened as (row, column, channel): e = patch_size² · 3.
    """
    count, height, width, channels = images.shape
    grid = (height // patch_size, width // patch_size)
    images = images.reshape(count, grid[0], patch_size, grid[1], patch_size, channels)
    return images.transpose(0, 1, 3, 2, 4, 5).reshape(count, grid[0] * grid[1], -1)


class VisionTower(nn.Module):
    """CLIP's vision transformer over all frames of a batch of videos."""

    config: ClipConfig

    @nn.compact
    def __call__(
        self, frames: Array, frame_mask: Bool[Array, "B M"], patches: bool
    ) -> tuple[Float[Array, "B M d"], Float[Array, "B M P d"] | None]:
        """Encode frames.

        Args:
            frames: [B, M, H, W, 3], uint8 RGB or normalised floats.
            frame_mask: True at real frames.
            patches: Return the patch states too.

        Returns:
            Frame features and, if asked for, patch states.

        Raises:
            UserError: The frames have another size than image_size.
        """
        config, dtype = self.config, self.config.dtype
        expected = (config.image_size, config.image_size, 3)
        if frames.shape[2:] != expected:
            raise UserError(
                f"clip: frames are {frames.shape[2:]} (height, width, RGB), the model takes {expected}; resize them"
            )
        width = config.vision_width
        scale = width**-0.5
        pixels = normalised_pixels(frames, frame_mask, dtype)
        pixels = pixels.reshape(-1, *pixels.shape[2:])

        # A product with flat patches is CLIP's convolution, and starts as PyTorch's: uniform within fan_in^-0.5.
        start = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        embedding = nn.Dense(width, use_bias=False, kernel_init=start, dtype=dtype, name="patch_embedding")
        x = embedding(image_patches(pixels, config.patch_size))
        class_token = self.param("class_embedding", nn.initializers.normal(scale), (width,))
        x = jnp.concatenate([jnp.broadcast_to(class_token.astype(dtype), (x.shape[0], 1, width)), x], axis=1)
        places = self.param("position_embedding", nn.initializers.normal(scale), (config.patches + 1, width))
        x = layer_norm(dtype, "norm_pre")(x + places.astype(dtype))

        taking_part = frame_mask if config.mask_padding else jnp.ones_like(frame_mask)
        only_class_token = None if patches else jnp.zeros(x.shape[0], jnp.int32)
        block = block_class(self, config.remat)
        for index in range(config.vision_layers):
            x = block(
                heads=config.vision_heads,
                depth=config.vision_layers,
                activation=config.activation,
                causal=False,
                dtype=dtype,
                attention=config.attention,
                name=f"block_{index}",
            )(
                x,
                taking_part if index in config.shift_blocks else None,
                only_class_token if index == config.vision_layers - 1 else None,
            )

        x = layer_norm(dtype, "norm_post")(x)
        x = x @ self.param("projection", nn.initializers.normal(scale), (width, config.embed_dim)).astype(dtype)
        x = x.reshape(*frame_mask.shape, *x.shape[1:])
        x = jnp.where(taking_part[:, :, None, None], x, 0)
        return x[:, :, 0], x[:, :, 1:] if patches else None
