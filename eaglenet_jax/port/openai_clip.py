"""OpenAI's tensor names of CLIP, also used by open_clip, the released EagleNet and CLIP4Clip."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.clip_sizes import HEAD_WIDTH, SizeNames, sizes_from_shapes
from eaglenet_jax.port.table import LOGIT_SCALE, Rule, Table, Tensors, rule
from eaglenet_jax.port.transforms import LINEAR, PATCHES


def block_rules(source: str, target: str) -> tuple[Rule, ...]:
    """Build the rules of a transformer block.

    Args:
        source: Prefix of the source names, with the block's number as {i}.
        target: Prefix of our paths, with the block's number as {i}.
    """
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
    return tuple(rule.prefixed(source, target) for rule in rules)


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

# TS2-Net wraps the attention of the vision blocks that it shifts along time.
SHIFTED_BLOCKS = (10, 11)
SHIFTED_ATTENTION = tuple(
    rule(
        each.sources[0].format(i=block).replace(".attn.", ".attn.net."), each.targets[0].format(i=block), each.transform
    )
    for block in SHIFTED_BLOCKS
    for each in block_rules("visual.transformer.resblocks.{i}.", "clip/vision/block_{i}/")
    if ".attn." in each.sources[0]
)

# Sizes that OpenAI's archives contain in addition to the weights, whose shapes give the same.
SIZES = ("input_resolution", "context_length", "vocab_size")

OPENAI_CLIP = Table("OpenAI CLIP", (*ENCODERS, rule("logit_scale", LOGIT_SCALE)), unused=SIZES)
OPEN_CLIP = Table("open_clip", OPENAI_CLIP.rules)


SIZE_NAMES = SizeNames(
    convolution="visual.conv1.weight",
    vision_positions="visual.positional_embedding",
    text_positions="positional_embedding",
    vocabulary="token_embedding.weight",
    projection="text_projection",
    projection_axis=1,
    vision_blocks="visual.transformer.resblocks.",
    text_blocks="transformer.resblocks.",
)


# open_clip's architectures that compute as OpenAI's CLIP does: widths and blocks of both towers, patch, and the heads
# that no shape says. "-quickgelu" at the end of a name changes the activation, "-336" and others the size of the image.
ARCHITECTURES = {
    # name: (vision width, blocks, patch, width of a head, text width, blocks)
    "ViT-S-32": (384, 12, 32, 64, 384, 12),
    "ViT-S-16": (384, 12, 16, 64, 384, 12),
    "ViT-M-32": (512, 12, 32, 64, 512, 12),
    "ViT-M-16": (512, 12, 16, 64, 512, 12),
    "ViT-B-32": (768, 12, 32, 64, 512, 12),
    "ViT-B-16": (768, 12, 16, 64, 512, 12),
    "ViT-B-16-plus": (896, 12, 16, 64, 640, 12),
    "ViT-L-16": (1024, 24, 16, 64, 768, 12),
    "ViT-L-14": (1024, 24, 14, 64, 768, 12),
    "ViT-H-16": (1280, 32, 16, 80, 1024, 24),
    "ViT-H-14": (1280, 32, 14, 80, 1024, 24),
}
QUICK = "-quickgelu"


def open_clip_names(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the tensors of an open_clip model with the text tower's names at the top, where older models have them."""
    if "text.token_embedding.weight" not in tensors:
        return dict(tensors)
    return {name.removeprefix("text."): value for name, value in tensors.items()}


def config_of_architecture(name: str, tensors: Tensors) -> ClipConfig:
    """Infer the sizes of an open_clip model from its shapes and the name of its architecture.

    Args:
        name: open_clip's name, such as ViT-B-32 or ViT-L-14-336-quickgelu, or a file of its folder model_configs.
        tensors: The model's.

    Raises:
        UserError: The name is not known, or the shapes are those of another architecture.
    """
    if name.endswith(".json"):
        return config_from_open_clip(Path(name), tensors)
    sizes = sizes_from_shapes(tensors, SIZE_NAMES)
    found = (sizes.vision_width, sizes.vision_layers, sizes.patch_size, sizes.text_width, sizes.text_layers)
    fitting = [known for known, (*shape, _, width, layers) in ARCHITECTURES.items() if (*shape, width, layers) == found]
    hint = f"; the shapes are those of {fitting[0]} or {fitting[0]}{QUICK}" if fitting else ""
    family = re.sub(r"-\d{3}$", "", name.removesuffix(QUICK))
    if family not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(
            f"--architecture: {name!r} is none of {known}, with {QUICK} or not, nor a .json of open_clip's "
            f"model_configs{hint}"
        )
    if family not in fitting:
        widths = "vision width {}, {} blocks, patch {}, text width {}, {} blocks".format(*found)
        raise UserError(f"--architecture={name} does not fit the file: {widths}{hint}")
    image = re.search(r"-(\d{3})$", name.removesuffix(QUICK))
    if image and int(image[1]) != sizes.image_size:
        raise UserError(f"--architecture={name} does not fit the file: its images have {sizes.image_size} pixels")
    head_width = ARCHITECTURES[family][3]
    return dataclasses.replace(
        sizes,
        vision_heads=sizes.vision_width // head_width,
        activation="quick_gelu" if name.endswith(QUICK) else "gelu",
    )


def config_from_open_clip(file: Path, tensors: Tensors) -> ClipConfig:
    """Infer the sizes of an open_clip model from its shapes and its open_clip_config.json.

    Raises:
        UserError: The file does not exist or describes a model that differs from ours in its computation.
    """
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
        model = written.get("model_cfg", written)  # files of open_clip's model_configs are the inner part alone
        vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is no readable open_clip_config.json ({error}); copy it next to the weights, or give "
            f"--architecture, such as ViT-B-32 or ViT-B-32{QUICK}"
        ) from error
    # Values of absent fields, which are the only ones that our CLIP computes.
    plain: dict[str, object] = {"timm_model_name": None, "hf_model_name": None, "mlp_ratio": 4.0, "ls_init_value": None}
    plain |= {"attentional_pool": False, "pool_type": "tok", "no_ln_pre": False, "output_tokens": False}
    other = [f"vision_cfg.{key} {vision[key]}" for key, value in plain.items() if vision.get(key, value) != value]
    plain |= {"pool_type": "argmax", "no_causal_mask": False, "embed_cls": False}
    other += [f"text_cfg.{key} {text[key]}" for key, value in plain.items() if text.get(key, value) != value]
    if other:
        raise UserError(f"{file}: {', '.join(other)}: such a model is not a CLIP as OpenAI's, and not supported")
    sizes = sizes_from_shapes(tensors, SIZE_NAMES)
    return dataclasses.replace(
        sizes,
        vision_heads=sizes.vision_width // vision.get("head_width", HEAD_WIDTH),
        text_heads=text.get("heads", sizes.text_heads),
        activation="quick_gelu" if model.get("quick_gelu") else "gelu",
    )
