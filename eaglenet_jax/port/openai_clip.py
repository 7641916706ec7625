"""OpenAI's names of CLIP, which open_clip and the released retrieval programs share."""

from __future__ import annotations

import re

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.table import Rule, Table, Tensors, rule
from eaglenet_jax.port.transforms import LINEAR, PATCHES


def block_rules(source: str, target: str) -> tuple[Rule, ...]:
    """Rules of one transformer block; `source` and `target` hold the block's number as {i}."""
    rules = (
        rule("ln_1.weight", "norm1/scale"),
        rule("ln_1.bias", "norm1/bias"),
        rule("attn.in_proj_weight", "attention/qkv_kernel", LINEAR),
        rule("attn.in_proj_bias", "attention/qkv_bias"),
        rule("attn.out_proj.weight", "attention/output/kernel", LINEAR),
        rule("attn.out_proj.bias", "attention/output/bias"),
        rule("ln_2.weight", "norm2/scale"),
        rule("ln_2.bias", "norm2/bias"),
        rule("mlp.c_fc.weight", "mlp_up/kernel", LINEAR),
        rule("mlp.c_fc.bias", "mlp_up/bias"),
        rule("mlp.c_proj.weight", "mlp_down/kernel", LINEAR),
        rule("mlp.c_proj.bias", "mlp_down/bias"),
    )
    return tuple(each.prefixed(source, target) for each in rules)


ENCODERS = (
    rule("token_embedding.weight", "clip/text/token_embedding"),
    rule("positional_embedding", "clip/text/position_embedding"),
    *block_rules("transformer.resblocks.{i}.", "clip/text/block_{i}/"),
    rule("ln_final.weight", "clip/text/norm_final/scale"),
    rule("ln_final.bias", "clip/text/norm_final/bias"),
    rule("text_projection", "clip/text/projection"),
    rule("visual.conv1.weight", "clip/vision/patch_embedding/kernel", PATCHES),
    rule("visual.class_embedding", "clip/vision/class_embedding"),
    rule("visual.positional_embedding", "clip/vision/position_embedding"),
    rule("visual.ln_pre.weight", "clip/vision/norm_pre/scale"),
    rule("visual.ln_pre.bias", "clip/vision/norm_pre/bias"),
    *block_rules("visual.transformer.resblocks.{i}.", "clip/vision/block_{i}/"),
    rule("visual.ln_post.weight", "clip/vision/norm_post/scale"),
    rule("visual.ln_post.bias", "clip/vision/norm_post/bias"),
    rule("visual.proj", "clip/vision/projection"),
)

# Sizes that OpenAI's archives hold beside the weights; the shapes of the weights say the same.
SIZES = ("input_resolution", "context_length", "vocab_size")

OPENAI_CLIP = Table("OpenAI CLIP", (*ENCODERS, rule("logit_scale", "logit_scale")), unused=SIZES)


def sizes_from_shapes(tensors: Tensors, prefix: str = "") -> ClipConfig:
    """The sizes of a CLIP with OpenAI's names, from the shapes of its tensors; attention heads are 64 wide.

    prefix: what stands before every name. UserError if a name that is needed for this is missing.
    """
    try:
        convolution = tensors[f"{prefix}visual.conv1.weight"].shape
        places = tensors[f"{prefix}visual.positional_embedding"].shape
        context_length, text_width = tensors[f"{prefix}positional_embedding"].shape
        embed_dim = tensors[f"{prefix}text_projection"].shape[1]
        vocab_size = tensors[f"{prefix}token_embedding.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"not a CLIP vision transformer with OpenAI's names: {error} is missing or malformed"
        ) from error
    if len(convolution) != 4 or len(places) != 2:
        raise UserError("not a CLIP vision transformer with OpenAI's names: visual.conv1.weight is malformed")
    width, patch = convolution[0], convolution[-1]
    return ClipConfig(
        embed_dim=embed_dim,
        image_size=round((places[0] - 1) ** 0.5) * patch,
        patch_size=patch,
        vision_width=width,
        vision_layers=count_blocks(tensors, f"{prefix}visual.transformer.resblocks."),
        vision_heads=max(width // 64, 1),
        text_width=text_width,
        text_layers=count_blocks(tensors, f"{prefix}transformer.resblocks."),
        text_heads=max(text_width // 64, 1),
        vocab_size=vocab_size,
        context_length=context_length,
    )


def count_blocks(tensors: Tensors, prefix: str) -> int:
    """How many numbers follow `prefix` in the names."""
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in tensors)
    return len({match[1] for match in found if match})
