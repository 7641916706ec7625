"""Hugging Face's tensor names of CLIP (transformers.CLIPModel) and its config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from eaglenet_jax.clip.config import ACTIVATIONS, ClipConfig
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.clip_sizes import SizeNames
from eaglenet_jax.port.table import LOGIT_SCALE, Rule, Table, rule
from eaglenet_jax.port.transforms import FUSED_BIAS, FUSED_LINEAR, LINEAR, PATCHES


def _block_rules(source: str, target: str) -> tuple[Rule, ...]:
    weights = tuple(f"self_attn.{part}_proj.weight" for part in "qkv")
    biases = tuple(f"self_attn.{part}_proj.bias" for part in "qkv")
    rules = (
        rule("layer_norm1.weight", "norm1/scale"),
        rule("layer_norm1.bias", "norm1/bias"),
        rule(weights, "attention/qkv_kernel", FUSED_LINEAR),
        rule(biases, "attention/qkv_bias", FUSED_BIAS),
        rule("self_attn.out_proj.weight", "attention/output/kernel", LINEAR),
        rule("self_attn.out_proj.bias", "attention/output/bias"),
        rule("layer_norm2.weight", "norm2/scale"),
        rule("layer_norm2.bias", "norm2/bias"),
        rule("mlp.fc1.weight", "mlp_up/kernel", LINEAR),
        rule("mlp.fc1.bias", "mlp_up/bias"),
        rule("mlp.fc2.weight", "mlp_down/kernel", LINEAR),
        rule("mlp.fc2.bias", "mlp_down/bias"),
    )
    return tuple(rule.prefixed(source, target) for rule in rules)


ENCODERS = (
    rule("text_model.embeddings.token_embedding.weight", "clip/text/token_embedding"),
    rule("text_model.embeddings.position_embedding.weight", "clip/text/position_embedding"),
    *_block_rules("text_model.encoder.layers.{i}.", "clip/text/block_{i}/"),
    rule("text_model.final_layer_norm.weight", "clip/text/norm_final/scale"),
    rule("text_model.final_layer_norm.bias", "clip/text/norm_final/bias"),
    rule("text_projection.weight", "clip/text/projection", LINEAR),
    rule("vision_model.embeddings.patch_embedding.weight", "clip/vision/patch_embedding/kernel", PATCHES),
    rule("vision_model.embeddings.class_embedding", "clip/vision/class_embedding"),
    rule("vision_model.embeddings.position_embedding.weight", "clip/vision/position_embedding"),
    rule("vision_model.pre_layrnorm.weight", "clip/vision/norm_pre/scale"),  # transformers' own spelling
    rule("vision_model.pre_layrnorm.bias", "clip/vision/norm_pre/bias"),
    *_block_rules("vision_model.encoder.layers.{i}.", "clip/vision/block_{i}/"),
    rule("vision_model.post_layernorm.weight", "clip/vision/norm_post/scale"),
    rule("vision_model.post_layernorm.bias", "clip/vision/norm_post/bias"),
    rule("visual_projection.weight", "clip/vision/projection", LINEAR),
)

SIZE_NAMES = SizeNames(
    convolution="vision_model.embeddings.patch_embedding.weight",
    vision_positions="vision_model.embeddings.position_embedding.weight",
    text_positions="text_model.embeddings.position_embedding.weight",
    vocabulary="text_model.embeddings.token_embedding.weight",
    projection="text_projection.weight",
    projection_axis=0,
    vision_blocks="vision_model.encoder.layers.",
    text_blocks="text_model.encoder.layers.",
)

# Buffers of older transformers: 0, 1, 2, ….
POSITIONS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")

HF_CLIP = Table("Hugging Face CLIP", (*ENCODERS, rule("logit_scale", LOGIT_SCALE)), unused=POSITIONS)


def config_from_hf(file: Path) -> ClipConfig:
    """Read the sizes in the config.json of a Hugging Face CLIP. Absent fields have transformers' defaults.

    Raises:
        UserError: The file is not a CLIP's, or the CLIP differs from ours in its computation.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that there is no PyTorch
    from transformers import CLIPConfig

    try:
        written = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no readable config.json ({error}); copy the CLIP's folder again") from error
    kind = written.get("model_type") if isinstance(written, dict) else None
    if kind != "clip":
        raise UserError(f"{file} describes a model of type {kind!r}, not a CLIP; give the folder of a CLIPModel")
    parsed: Any = CLIPConfig.from_dict(written)
    vision, text = parsed.vision_config, parsed.text_config
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in ACTIVATIONS:
        acts = f"{vision.hidden_act!r} and {text.hidden_act!r}"
        raise UserError(f"{file}: activations {acts}; both towers must have the same of {', '.join(ACTIVATIONS)}")
    for tower in (vision, text):
        expected = {"layer_norm_eps": 1e-5, "intermediate_size": 4 * tower.hidden_size}
        other = [
            f"{name} is {getattr(tower, name)}, this program's CLIP has {value}"
            for name, value in expected.items()
            if getattr(tower, name) != value
        ]
        if other:
            raise UserError(
                f"{file}: {'; '.join(other)} (hidden_size {tower.hidden_size}); give a CLIP of OpenAI's form"
            )
    return ClipConfig(
        embed_dim=parsed.projection_dim,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        vision_width=vision.hidden_size,
        vision_layers=vision.num_hidden_layers,
        vision_heads=vision.num_attention_heads,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
        vocab_size=text.vocab_size,
        context_length=text.max_position_embeddings,
        activation=vision.hidden_act,
    )


def config_to_hf(config: ClipConfig) -> dict[str, Any]:
    """Return the content of config.json for a CLIP of these sizes."""
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": 4 * config.vision_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_act": config.activation,
        "layer_norm_eps": 1e-5,
        "projection_dim": config.embed_dim,
    }
    text = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "max_position_embeddings": config.context_length,
        "hidden_act": config.activation,
        "layer_norm_eps": 1e-5,
        "projection_dim": config.embed_dim,
        "bos_token_id": config.vocab_size - 2,
        "eos_token_id": config.vocab_size - 1,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "vision_config": vision,
        "text_config": text,
    }
