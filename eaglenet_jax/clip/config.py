"""Sizes and computation settings of a CLIP."""

from __future__ import annotations

import dataclasses
from typing import Any

from eaglenet_jax.errors import UserError

ACTIVATIONS = ("quick_gelu", "gelu")
ATTENTION_KERNELS = ("auto", "xla")
# Fields that are how a CLIP computes; all others are its sizes.
COMPUTATION = ("shift_blocks", "mask_padding", "dtype", "remat", "attention")
SHIFT_STRIDE = 7  # folds of TS2-Net's token shift: one fold is a seventh of the tokens of a frame


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Sizes and computation settings of a CLIP with a vision transformer.

    Attributes:
        embed_dim: d, width of both features.
        image_size: Height and width of a frame in pixels.
        patch_size: Height and width of a patch in pixels.
        vision_width: Width of the vision transformer.
        vision_layers: Blocks of the vision transformer.
        vision_heads: Attention heads of the vision transformer.
        text_width: Width of the text transformer.
        text_layers: Blocks of the text transformer.
        text_heads: Attention heads of the text transformer.
        vocab_size: Rows of the token embedding.
        context_length: Largest number of tokens of a text.
        shift_blocks: 0-based vision blocks whose attention input is shifted along time; none in plain CLIP.
        mask_padding: Leave padding frames out of the shift and set their features to zero. False, as in the released
            program, treats them as real frames.
        activation: "quick_gelu" (OpenAI's weights) or "gelu" (weights trained without it).
        dtype: Compute type; parameters are float32.
        remat: Recompute blocks in the backward pass to save memory.
        attention: Who computes attention: "auto" is cuDNN's one kernel on one recent NVIDIA GPU where the type has two
            bytes, else XLA's operations; "xla" is those everywhere.

    Raises:
        UserError: The sizes do not fit together.
    """

    embed_dim: int
    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    vocab_size: int = 49408
    context_length: int = 77
    shift_blocks: tuple[int, ...] = ()
    mask_padding: bool = True
    activation: str = "quick_gelu"
    dtype: str = "float32"
    remat: bool = False
    attention: str = "auto"

    def __post_init__(self) -> None:
        """Raise UserError for sizes that do not fit together."""
        object.__setattr__(self, "shift_blocks", tuple(self.shift_blocks))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and not (isinstance(value, int) and value >= 1):
                raise UserError(f"clip: {field.name} is {value!r}; give a whole number, 1 or more")
        if self.image_size % self.patch_size:
            raise UserError(
                f"clip: image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; "
                "change one of them"
            )
        for tower in ("vision", "text"):
            width, heads = getattr(self, f"{tower}_width"), getattr(self, f"{tower}_heads")
            if width % heads:
                raise UserError(
                    f"clip: {tower}_width {width} is not a multiple of {tower}_heads {heads}; change one of them"
                )
        if self.activation not in ACTIVATIONS:
            raise UserError(f"clip: activation is {self.activation!r}, choose one of {', '.join(ACTIVATIONS)}")
        if self.attention not in ATTENTION_KERNELS:
            raise UserError(f"clip: attention is {self.attention!r}, choose one of {', '.join(ATTENTION_KERNELS)}")
        outside = [block for block in self.shift_blocks if not 0 <= block < self.vision_layers]
        if outside:
            raise UserError(
                f"clip: shift_blocks {outside} do not exist; choose from 0 to {self.vision_layers - 1}, "
                f"the {self.vision_layers} vision blocks"
            )
        if self.shift_blocks and self.patches + 1 < SHIFT_STRIDE:
            raise UserError(
                f"clip: token shift needs at least {SHIFT_STRIDE} tokens a frame, image_size {self.image_size} with "
                f"patch_size {self.patch_size} gives {self.patches + 1}; take smaller patches or shift_blocks=()"
            )

    @property
    def patches(self) -> int:
        """P, the number of patches of a frame."""
        return (self.image_size // self.patch_size) ** 2


def _openai(embed_dim: int, image_size: int, patch_size: int, vision_width: int, vision_layers: int) -> ClipConfig:
    # OpenAI's models have 64-wide attention heads in both towers and a text tower as wide as the embedding.
    return ClipConfig(
        embed_dim=embed_dim,
        image_size=image_size,
        patch_size=patch_size,
        vision_width=vision_width,
        vision_layers=vision_layers,
        vision_heads=vision_width // 64,
        text_width=embed_dim,
        text_layers=12,
        text_heads=embed_dim // 64,
    )


NAMED_SIZES = {
    "ViT-B/32": _openai(512, 224, 32, 768, 12),
    "ViT-B/16": _openai(512, 224, 16, 768, 12),
    "ViT-L/14": _openai(768, 224, 14, 1024, 24),
    "ViT-L/14@336px": _openai(768, 336, 14, 1024, 24),
}


def clip_config(name: str, **changes: Any) -> ClipConfig:
    """Return one of OpenAI's sizes by its name, with some fields changed.

    Args:
        name: One of `NAMED_SIZES`.
        **changes: Fields of `ClipConfig` to replace, such as shift_blocks=(10, 11).

    Raises:
        UserError: The name is unknown, or the changed sizes do not fit together.
    """
    if name not in NAMED_SIZES:
        raise UserError(f"clip: no size is named {name!r}, choose one of {', '.join(NAMED_SIZES)} or give every field")
    return dataclasses.replace(NAMED_SIZES[name], **changes)
