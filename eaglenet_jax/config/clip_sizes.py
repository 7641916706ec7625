"""OpenAI's CLIPs as configs name them: sizes, where their weights come from, tokens, blocks with token shift."""

from __future__ import annotations

from ml_collections import ConfigDict

CLIP_SIZES = {"b32": "ViT-B/32", "b16": "ViT-B/16", "l14": "ViT-L/14"}
CLIP_WEIGHTS = {
    "b32": "openai/clip-vit-base-patch32",
    "b16": "openai/clip-vit-base-patch16",
    "l14": "openai/clip-vit-large-patch14",
}
# Blocks that the released EagleNet and TS2-Net shift along time, whatever the depth (docs/systems.md section 6.1).
SHIFT_BLOCKS = (10, 11)


def set_clip(config: ConfigDict, size: str, token_shift: bool) -> None:
    """Give a config one of OpenAI's CLIPs, and the place where its weights come from."""
    config.clip.name = CLIP_SIZES[size]
    config.init_from = CLIP_WEIGHTS[size]
    config.clip.shift_blocks = SHIFT_BLOCKS if token_shift else ()


def clip_tokens(size: str) -> dict[str, int]:
    """Return how many tokens a frame has in one of OpenAI's CLIPs, class token included, and their width."""
    from eaglenet_jax.system import NAMED_SIZES  # not above: `train --help` reads this file and no model library

    clip = NAMED_SIZES[CLIP_SIZES[size]]
    return {"count": clip.patches + 1, "width": clip.embed_dim}
