"""Vision encoder of a BLIP-2 checkpoint in Hugging Face's form (transformers.Blip2VisionModel)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.clip.eva import EvaConfig, EvaVision
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.blip2_files import VISION, Blip2Files
from eaglenet_jax.port.table import Table, Tensors, Tree, linear_rules, norm_rules, rule, to_flax
from eaglenet_jax.port.transforms import LINEAR, PATCHES, Transform

# Our field → Hugging Face's field and transformers' default.
SIZES = {
    "width": ("hidden_size", 1408),
    "layers": ("num_hidden_layers", 39),
    "heads": ("num_attention_heads", 16),
    "hidden": ("intermediate_size", 6144),
    "image_size": ("image_size", 224),
    "patch_size": ("patch_size", 14),
    "epsilon": ("layer_norm_eps", 1e-6),
}
OTHER = {"activation": ("hidden_act", "gelu"), "biases": ("qkv_bias", True)}

# [1, 1, w] ↔ [w], and [1, n, w] ↔ [n, w].
_VECTOR = Transform(lambda sources, _: [sources[0][0, 0]], lambda targets: [targets[0][None, None]])
_ROWS = Transform(lambda sources, _: [sources[0][0]], lambda targets: [targets[0][None]])

_BLOCK = (
    *norm_rules("layer_norm1", "norm1"),
    rule("self_attn.qkv.weight", "attention/qkv_kernel", LINEAR),
    rule("self_attn.qkv.bias", "attention/qkv_bias"),
    *linear_rules("self_attn.projection", "attention/output"),
    *norm_rules("layer_norm2", "norm2"),
    *linear_rules("mlp.fc1", "mlp_up"),
    *linear_rules("mlp.fc2", "mlp_down"),
)
BLIP2_VISION = Table(
    "BLIP-2's vision encoder",
    (
        rule("vision_model.embeddings.class_embedding", "class_embedding", _VECTOR),
        rule("vision_model.embeddings.position_embedding", "position_embedding", _ROWS),
        rule("vision_model.embeddings.patch_embedding.weight", "patch_embedding/kernel", PATCHES),
        rule("vision_model.embeddings.patch_embedding.bias", "patch_embedding/bias"),
        *(each.prefixed("vision_model.encoder.layers.{i}.", "block_{i}/") for each in _BLOCK),
        *norm_rules("vision_model.post_layernorm", "norm_post"),
    ),
)


def eva_config(files: Blip2Files) -> EvaConfig:
    """Read the sizes of the encoder.

    Raises:
        UserError: It computes something else than ours.
    """
    other = files.sizes("vision_config", OTHER)
    if other["activation"] != "gelu":
        raise UserError(f"{files.source}: the vision encoder's hidden_act is {other['activation']!r}; ours is 'gelu'")
    return EvaConfig(**files.sizes("vision_config", SIZES))


def load_blip2_vision(files: Blip2Files) -> tuple[EvaConfig, Tree]:
    """Load the encoder, strictly → (sizes, parameters).

    Raises:
        UserError: Lists every tensor that is missing, left over or of another shape.
    """
    config = eva_config(files)
    tensors = dict(files.tensors(VISION))
    if not files.sizes("vision_config", OTHER)["biases"]:
        tensors |= {
            f"vision_model.encoder.layers.{i}.self_attn.qkv.bias": np.zeros(3 * config.width, np.float32)
            for i in range(config.layers)
        }
    try:
        return config, vision_from_tensors(tensors, config)
    except UserError as error:
        raise UserError(f"{files.source}: {error}") from error


def vision_from_tensors(tensors: Tensors, config: EvaConfig) -> Tree:
    """Convert the tensors `vision_model.*` of a checkpoint, strictly."""
    return to_flax(BLIP2_VISION, tensors, eva_shapes(config))


def eva_shapes(config: EvaConfig) -> Tree:
    """Return the shapes of the encoder's parameters without computing them."""
    frames = jax.ShapeDtypeStruct((1, 1, config.image_size, config.image_size, 3), jnp.uint8)
    mask = jax.ShapeDtypeStruct((1, 1), jnp.bool_)
    return jax.eval_shape(EvaVision(config).init, jax.random.key(0), frames, mask)["params"]
