"""The presets: `ours`, `released` (what the public programs compute, flaws included) and `paper`.

What a preset changes in a head stands with the head (`Head.presets`); docs/DIFFERENCES.md has a row for each change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.defaults import change, merged
from eaglenet_jax.registry import head_class

PRESETS = ("ours", "released", "paper")

# What `released` changes for every system, besides its head.
RELEASED = {
    "clip": {"mask_padding": False},
    "evaluation": {"noise": "per_pair", "count_missing": False},
    # The public programs keep the logit scale of the softmax loss among the parameters of CLIP.
    "optimizer": {"logit_scale": "clip"},
}
# What `freeze_layer_num 0` of CLIP4Clip's program and those built on it leaves as it is.
FROZEN_EMBEDDINGS = (
    "clip/text/token_embedding,clip/(text|vision)/position_embedding,clip/vision/class_embedding,"
    "clip/vision/patch_embedding/.*,clip/vision/norm_pre/.*"
)
# These programs also count tied queries twice and store CLIP as float16.
RELEASED_WITH_FREEZING = {
    "evaluation": {"ties": "released"},
    "optimizer": {"clip_storage": "float16", "freeze": FROZEN_EMBEDDINGS},
}


def preset_options(head: str, preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a head: its defaults, then `changes` of the dataset or row, then what the preset changes.

    Args:
        head: A name of the registry, or package.module:Class.
        preset: One of `PRESETS`.
        changes: Options by name.
    """
    cls = head_class(head)
    return merged(merged(cls.options(), changes), cls.presets.get(preset, {}))


def apply_preset(config: ConfigDict, preset: str, of_system: Mapping[str, Mapping[str, Any]]) -> None:
    """Change what a preset changes besides the head.

    Args:
        config: Changed in place.
        preset: One of `PRESETS`.
        of_system: By preset, what only this system changes.
    """
    config.preset = preset
    if preset == "released":
        change(config, RELEASED)
    change(config, of_system.get(preset, {}))
