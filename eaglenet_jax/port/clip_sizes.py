"""Sizes of a CLIP inferred from the shapes of its tensors, for checkpoints without a config."""

from __future__ import annotations

import dataclasses
import re

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.table import Tensors

HEAD_WIDTH = 64  # of OpenAI's models, in both towers; it cannot be inferred from a shape


@dataclasses.dataclass(frozen=True)
class SizeNames:
    """Names of the tensors whose shapes give the sizes, and prefixes of the numbers of blocks.

    Attributes:
        convolution: Kernel of the patch embedding.
        vision_positions: Position embedding of the vision transformer.
        text_positions: Position embedding of the text transformer.
        vocabulary: Token embedding.
        projection: Text projection.
        projection_axis: Axis of the text projection that has the size of the embedding.
        vision_blocks: Prefix of the number of a vision block.
        text_blocks: Prefix of the number of a text block.
    """

    convolution: str
    vision_positions: str
    text_positions: str
    vocabulary: str
    projection: str
    projection_axis: int
    vision_blocks: str
    text_blocks: str


def sizes_from_shapes(tensors: Tensors, names: SizeNames, prefix: str = "") -> ClipConfig:
    """Infer the sizes of a CLIP whose names all start with `prefix`.

    Raises:
        UserError: A tensor that gives a size is missing or of another rank.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = tensors.get(prefix + name)
        if found is None or found.ndim != rank:
            what = "missing" if found is None else f"of shape {found.shape}"
            raise UserError(f"not a CLIP with a vision transformer: {prefix + name} is {what}")
        return found.shape

    vision_width, _, _, patch_size = shape(names.convolution, 4)
    vocab_size, text_width = shape(names.vocabulary, 2)
    positions = shape(names.vision_positions, 2)[0]
    return ClipConfig(
        embed_dim=shape(names.projection, 2)[names.projection_axis],
        image_size=round((positions - 1) ** 0.5) * patch_size,
        patch_size=patch_size,
        vision_width=vision_width,
        vision_layers=count_blocks(tensors, prefix + names.vision_blocks),
        vision_heads=max(vision_width // HEAD_WIDTH, 1),
        text_width=text_width,
        text_layers=count_blocks(tensors, prefix + names.text_blocks),
        text_heads=max(text_width // HEAD_WIDTH, 1),
        vocab_size=vocab_size,
        context_length=shape(names.text_positions, 2)[0],
    )


def count_blocks(tensors: Tensors, prefix: str) -> int:
    """Count the different numbers that follow `prefix` in the names."""
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in tensors)
    return len({match[1] for match in found if match})
