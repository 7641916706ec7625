"""Configs of real datasets: a dataset, a system, a preset and a CLIP size become one config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.config.arguments import chosen, chosen_system, split_argument
from eaglenet_jax.config.clip_sizes import CLIP_SIZES, CLIP_WEIGHTS, clip_tokens, set_clip
from eaglenet_jax.config.defaults import change, defaults
from eaglenet_jax.config.presets import PRESETS
from eaglenet_jax.config.systems import (
    BLIP2_WORDS,
    SYSTEMS,
    set_blip2,
    set_first_stage,
    set_own_encoder,
    set_system,
    system_recipe,
)

Changes = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Settings of the experiments on a dataset.

    Attributes:
        name: Of the config and of the data.
        queries: Captions of a video that are evaluated: "first" or "all".
        clip: The CLIP size that is taken where none is asked for.
        words: L, token ids a caption.
        frames: M, frames a video.
        head: By system, then by CLIP size ("any" for sizes that are not named): options of the head.
        paper_head: By system: options of the head where the paper's own numbers on this dataset are not its preset's.
        training: By system, then by preset ("any" for presets that are not named): other fields of the config.
    """

    name: str
    queries: str
    clip: str = "b16"
    words: int = 32
    frames: int = 12
    head: Mapping[str, Mapping[str, Changes]] = dataclasses.field(default_factory=dict)
    paper_head: Mapping[str, Changes] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Mapping[str, Changes]] = dataclasses.field(default_factory=dict)

    def config(self, argument: str = "") -> ConfigDict:
        """The config that an argument asks for.

        Args:
            argument: A preset, a system and a CLIP size in any order, such as "b32,released"; for CrossTVR also
                `BLIP2_WORDS`.

        Raises:
            UserError: A word is not known, or two exclude each other, or the system reads no BLIP-2.
        """
        words = split_argument(argument, (*PRESETS, *SYSTEMS, *CLIP_SIZES, *BLIP2_WORDS))
        preset = chosen(words, PRESETS, "ours")
        asked = chosen_system(words, tuple(SYSTEMS), "eaglenet")
        size = chosen(words, tuple(CLIP_SIZES), self.clip)
        recipe = system_recipe(asked)
        config = defaults()
        config.name = self.name
        config.queries = self.queries
        config.max_words, config.max_frames = self.words, self.frames
        config.data.dataset = self.name
        config.data.prepared = f"datasets/{self.name}"
        for changes in (recipe.training, _or_any(self.training.get(asked, {}), preset)):
            change(config, changes)
        set_system(config, asked, preset, _or_any(self.head.get(asked, {}), size))
        if preset == "paper":
            change(config, {"head": self.paper_head.get(asked, {})})
        set_clip(config, size, token_shift=preset in recipe.token_shift)
        if recipe.first_stage:
            set_first_stage(config, self.config(",".join([recipe.first_stage, size, preset])))
            set_own_encoder(config, CLIP_WEIGHTS["b32"], **clip_tokens("b32"))
        set_blip2(config, words & set(BLIP2_WORDS), preset)
        config.claim = f"{self.name}/{size}/{asked}" + ("_vitg" if "vitg" in words else "")
        return config


def _or_any(by_name: Mapping[str, Changes], name: str) -> Changes:
    return by_name.get(name, by_name.get("any", {}))
