"""Parts that the configs on MovingShapes share: data, tiny CLIP, optimiser, options of heads of that size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.defaults import change, defaults

CLIP = {
    "name": "",
    "embed_dim": 64,
    "image_size": 48,
    "patch_size": 8,
    "vision_width": 128,
    "vision_layers": 3,
    "vision_heads": 4,
    "text_width": 64,
    "text_layers": 3,
    "text_heads": 2,
    "vocab_size": 49408,
    "context_length": 77,
    "shift_blocks": (1, 2),
    "mask_padding": True,
    "dtype": "float32",
    "remat": False,
    "attention": "auto",
}
SHIPPED_CLIP = "moving_shapes_clip"  # trained weights of these sizes, in the package

# Sizes for the word `tiny`, which the tests use.
SMALLEST_CLIP = {
    "embed_dim": 16,
    "patch_size": 16,
    "vision_width": 32,
    "vision_layers": 2,
    "vision_heads": 2,
    "text_width": 16,  # as wide as the features, as in OpenAI's sizes
    "text_layers": 1,
    "text_heads": 2,
    "shift_blocks": (1,),
}

# Found by trial on the validation split. The released start (temperature 118, bias −12.93) and the MLP energy, whose
# values grow with CLIP's unnormalised features, undo what the CLIP has learned; a run this short does not win it back.
EAGLENET: dict[str, Any] = {
    "candidates": 8,
    "energy": "bilinear",
    "eam_support_weight": 0.0,  # as for MSR-VTT with B/32
    "initial_log_scale": 3.0,
    "initial_bias": -16.0,
    "pooling_dropout": 0.1,
    "graph": {"dropout_rate": 0.1},
}
# It shares the first stage's vision encoder, since there is no other.
CROSSTVR: dict[str, Any] = {
    "transformer": {"width": 64, "layers": 2, "heads": 4, "hidden": 256, "cross_every": 1},
    "queries": 8,
    "negative_scale": 20.0,  # near what the logit scale of the first stage becomes
}
HEADS: Mapping[str, Mapping[str, Any]] = {"eaglenet": EAGLENET, "crosstvr": CROSSTVR}


def moving_shapes(splits: Mapping[str, int], events: Mapping[str, Any]) -> ConfigDict:
    """Return a config on MovingShapes with a CLIP of random weights, before a system is chosen.

    Args:
        splits: Clips by split.
        events: Of what a clip consists, fields of data_prep/moving_shapes/events.py: `Events`; the others are zero.
    """
    config = defaults()
    config.queries = "first"
    config.clip = ConfigDict(CLIP)
    config.data = ConfigDict(
        {
            "dataset": "moving_shapes",
            "root": "datasets",
            "prepared": "",  # rendered and prepared under `root`
            "splits": dict(splits),
            "events": {"count": 1, "distractors": 0.0, "pairs": 0.0, "paragraph": False} | dict(events),
            "seed": 0,
            "fps": 3.0,
            "size": CLIP["image_size"],
            "workers": 0,
        }
    )
    change(
        config,
        {
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "weight_decay": 0.05,
                "clip_lr": 1e-3,
                "head_lr": 1e-3,
                "per_tensor_clip": 0.0,
            }
        },
    )
    return config


def make_tiny(config: ConfigDict) -> None:
    """Change a config to a run of seconds that learns nothing, from random weights."""
    config.data.splits = ConfigDict({"train": 48, "validate": 12, "test": 16})
    config.clip.update(SMALLEST_CLIP)
    config.init_from = ""
    config.batch_size, config.steps, config.evaluation.every = 8, 6, 3
    config.max_words, config.max_frames = 20, 6
