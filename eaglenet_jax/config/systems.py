"""Systems as they are asked for behind a config's colon: a head, its options, and how its authors train it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.presets import PRESETS, RELEASED_WITH_FREEZING, apply_preset, preset_options
from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import HEADS, head_class


@dataclasses.dataclass(frozen=True)
class SystemRecipe:
    """A system that can be asked for.

    Attributes:
        head: A name of the registry, or package.module:Class.
        options: Options of the head that make this system of it.
        training: Fields of the config where it is not trained as EagleNet is.
        released: Fields that its released program changes besides `presets.RELEASED`.
        paper: Fields that its paper changes.
        first_stage: The system that is trained before it and chooses its candidates, "" for `Head.first_system`.
        token_shift: Presets in which tokens are shifted along time inside CLIP.
    """

    head: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    released: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    first_stage: str = ""
    token_shift: tuple[str, ...] = ()


# docs/systems.md section 4.
_POOLING = {
    "batch_size": 32,
    "optimizer": {
        "name": "adamw",
        "clip_lr": 1e-6,
        "head_lr": 1e-5,
        "schedule": "warmup_cosine",
        "per_tensor_clip": 0.0,
    },
}
_CLIP4CLIP: dict[str, Any] = {"training": {"batch_size": 128}, "released": RELEASED_WITH_FREEZING}
_CROSSTVR: dict[str, Any] = {"training": {"batch_size": 128, "pairwise_block": 16}}

SYSTEMS: dict[str, SystemRecipe] = {
    # The paper of EagleNet does not mention the shift; that of TS2-Net is about it.
    "eaglenet": SystemRecipe("eaglenet", released=RELEASED_WITH_FREEZING, token_shift=("ours", "released")),
    "clip4clip": SystemRecipe("clip4clip", **_CLIP4CLIP),
    "seqtransf": SystemRecipe("clip4clip", {"temporal": "transformer"}, **_CLIP4CLIP),
    "ts2net": SystemRecipe(
        "ts2net",
        training={"batch_size": 128},
        released=RELEASED_WITH_FREEZING,
        token_shift=PRESETS,
    ),
    "xpool": SystemRecipe("xpool", training=_POOLING),
    "tmass": SystemRecipe("tmass", training=_POOLING, paper={"max_frames": 12}),  # on every dataset
    "shenet": SystemRecipe("shenet", training={"batch_size": 96}),
    "crosstvr": SystemRecipe("crosstvr", first_stage="clip4clip", **_CROSSTVR),
    "crosstvr_ts2net": SystemRecipe("crosstvr", first_stage="ts2net", **_CROSSTVR),
    "crosstvr_xpool": SystemRecipe("crosstvr", first_stage="xpool", **_CROSSTVR),
    "crosstvr_eaglenet": SystemRecipe("crosstvr", first_stage="eaglenet", **_CROSSTVR),
}
# Words for systems that can read a BLIP-2: "vitg", its vision encoder ViT-g/14 in the second stage; "blip2", its query
# transformer as the start of spatial and temporal attention.
BLIP2_WORDS = ("vitg", "blip2")
BLIP2_WEIGHTS = "Salesforce/blip2-itm-vit-g"
VITG_TOKENS = {"count": 257, "width": 1408}

# A head of the registry without a recipe is trained as EagleNet is.
SYSTEMS |= {name: SystemRecipe(name) for name in HEADS if name not in SYSTEMS}


def system_recipe(word: str) -> SystemRecipe:
    """The recipe of a name of `SYSTEMS`, or that of a head given as package.module:Class, with its first stage."""
    recipe = SYSTEMS.get(word, SystemRecipe(word))
    return dataclasses.replace(recipe, first_stage=recipe.first_stage or head_class(recipe.head).first_system)


def set_system(config: ConfigDict, word: str, preset: str, changes: Mapping[str, Any] | None = None) -> None:
    """Fill in `system`, `preset` and `head`, and what the preset changes elsewhere.

    Args:
        config: Changed in place.
        word: A system, as `system_recipe` takes it.
        preset: One of `presets.PRESETS`.
        changes: Options of the head that the dataset changes.
    """
    recipe = system_recipe(word)
    config.system = recipe.head
    config.head = ConfigDict(preset_options(recipe.head, preset, {**recipe.options, **(changes or {})}))
    apply_preset(config, preset, {"released": recipe.released, "paper": recipe.paper})


def set_first_stage(config: ConfigDict, first: ConfigDict) -> None:
    """Make a config train `first` before itself and freeze its trained encoders and head.

    Args:
        config: Of a system whose candidates another head chooses; changed in place.
        first: The config of that other system.

    Raises:
        UserError: The head of the config has no first stage.
    """
    head = head_class(config.system)
    config.first_stage = first
    config.init_from = ""
    config.clip = ConfigDict(first.clip.to_dict())
    set_options(config, head.options_on(first.system, first.head.to_dict()))
    config.optimizer.freeze = head.frozen_by_first_stage


def set_own_encoder(config: ConfigDict, source: str, count: int, width: int) -> None:
    """Give the head of a config a vision encoder of its own, if it reads one; see `Head.own_encoder_options`."""
    set_options(config, head_class(config.system).own_encoder_options(source, count, width))


def set_blip2(config: ConfigDict, words: set[str], preset: str) -> None:
    """Make the head of a config start from BLIP-2, or read its vision encoder, if it can; see `BLIP2_WORDS`.

    Args:
        config: Of the last stage, complete but for this; changed in place.
        words: Those of `BLIP2_WORDS` that were asked for.
        preset: One of `presets.PRESETS`. `paper` starts from BLIP-2, as CrossTVR's authors do.

    Raises:
        UserError: The head reads no BLIP-2.
    """
    reads = "blip2" in config.head
    if words and not reads:
        raise UserError(f"--config: {' and '.join(sorted(words))}: {config.system} reads no BLIP-2; crosstvr does")
    if "vitg" in words:
        set_own_encoder(config, BLIP2_WEIGHTS, **VITG_TOKENS)
    if reads and ("blip2" in words or preset == "paper"):
        config.head.blip2 = BLIP2_WEIGHTS


def set_options(config: ConfigDict, options: Mapping[str, Any]) -> None:
    """Replace options of the head of a config, each as a whole."""
    for name, value in options.items():
        config.head[name] = value
