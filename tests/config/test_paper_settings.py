"""The configs of docs/coverage.md have the settings that the papers state, and every system of them builds.

The settings are those of EagleNet's section 4.1 and appendix E.4, T-MASS's section 4.1, SHE-Net's section IV.C and
CrossTVR's section 4.1. Of systems whose own papers are not at hand they are those of docs/systems.md section 4.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from eaglenet_jax.config.checking import check_config, field
from eaglenet_jax.config.clip_sizes import CLIP_SIZES
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.system import build_system, parameter_count
from eaglenet_jax.training.optimizer import describe_groups
from tests.coverage_page import ROWS, changed_fields, commands_of, configs_of

Fields = dict[str, Any]
_CLIP4CLIP: Fields = {
    "optimizer.name": "bert_adam",
    "optimizer.schedule": "cosine",
    "optimizer.clip_lr": 1e-7,
    "optimizer.head_lr": 1e-4,
    "epochs": 5,
}
_XPOOL: Fields = {
    "batch_size": 32,
    "optimizer.name": "adamw",
    "optimizer.schedule": "warmup_cosine",
    "optimizer.clip_lr": 1e-6,
    "optimizer.head_lr": 1e-5,
    "optimizer.weight_decay": 0.2,
    "head.pooling_dropout": 0.3,
    "epochs": 5,
}
# What each paper trains with: by paper, then by system ("any" for all of them).
STATED: dict[str, dict[str, Fields]] = {
    "EagleNet": {
        "any": {**_CLIP4CLIP, "batch_size": 64, "optimizer.weight_decay": 0.2, "optimizer.warmup": 0.1},
        "eaglenet": {
            "head.candidates": 20,
            "head.graph.heads": 4,
            "head.graph.layers": 2,
            "head.sampler.steps": 20,
            "head.sampler.step_size": 1.0,
            "head.support_weight": 0.8,
            "head.eam_weight": 1.0,
            "head.energy_pooling": "avg",
            "head.loss_kind": "sigmoid",
            "head.initial_log_scale": 4.77,
            "head.initial_bias": -12.93,
            "head.pooling_dropout": 0.3,
        },
        "xpool": {"head.pooling_dropout": 0.3},
        "tmass": {"head.pooling_dropout": 0.3, "head.samples": 20},
        "clip4clip": {},
        "ts2net": {},
    },
    "T-MASS": {
        "any": {"optimizer.warmup": 0.1},
        "tmass": {**_XPOOL, "head.samples": 20, "head.radius_kind": "linear", "head.support": "own"},
        "xpool": _XPOOL,
        "clip4clip": {**_CLIP4CLIP, "batch_size": 128},
        "ts2net": {**_CLIP4CLIP, "batch_size": 128, "head.selected": 3},
    },
    "SHE-Net": {
        "shenet": {
            "batch_size": 96,
            "optimizer.clip_lr": 1e-7,
            "optimizer.head_lr": 1e-4,
            "head.frames_per_verb": 2,
            "head.patches_per_noun": 4,
            "head.temporal_layers": 4,
            "head.logit_scale": 4.0,
            "head.scale_kind": "factor",
            "head.normalise": False,
            "head.normalise_attention": False,
            "head.attention_scale": 1.0,
            "head.learned_attention_scale": False,
        },
        "xpool": _XPOOL,
        "clip4clip": {**_CLIP4CLIP, "batch_size": 128},
        "ts2net": {**_CLIP4CLIP, "batch_size": 128, "head.selected": 3},
    },
    "CrossTVR": {
        "crosstvr": {
            "batch_size": 128,
            "optimizer.head_lr": 1e-4,
            "optimizer.freeze": "(clip|head/first)/.*",
            "optimizer.schedule": "cosine",
            "optimizer.warmup": 0.1,
            "head.selected": 4,
            "head.top_k": 15,
            "head.shared_weights": True,
            "head.blip2": "Salesforce/blip2-itm-vit-g",
            "first_stage.clip.name": "ViT-B/32",
            "first_stage.preset": "paper",
        },
        "xpool": _XPOOL,
        "clip4clip": {**_CLIP4CLIP, "batch_size": 128},
        "ts2net": {**_CLIP4CLIP, "batch_size": 128, "head.selected": 3},
    },
}
# What EagleNet's public program trains with where that depends on the dataset (docs/systems.md section 2.7).
RELEASED: dict[tuple[str, str], Fields] = {
    (dataset, size): {
        "head.energy": energy,
        "head.frame_positions": positions,
        "head.eam_support_weight": weight,
        "accumulate": parts,
    }
    for dataset, size, energy, positions, weight, parts in (
        ("msrvtt", "b32", "mlp", False, 0.0, 1),
        ("msrvtt", "b16", "bilinear", True, 1.0, 1),
        ("msvd", "b16", "mlp", False, 1.0, 1),
        ("vatex", "b16", "mlp", True, 1.0, 1),
        ("didemo", "b16", "mlp", True, 0.0, 4),
    )
}
OWN = {"EagleNet": "eaglenet", "T-MASS": "tmass", "SHE-Net": "shenet", "CrossTVR": "crosstvr"}
# Frames and words of a dataset where they are not 12 and 32; T-MASS has 12 frames everywhere and states no words.
LONG = {"EagleNet": ("didemo",), "T-MASS": (), "SHE-Net": ("didemo", "activitynet"), "CrossTVR": ("didemo",)}
B32_TOKENS: Fields = {"source": "openai/clip-vit-base-patch32", "count": 50, "width": 512}
VITG_TOKENS: Fields = {"source": "Salesforce/blip2-itm-vit-g", "count": 257, "width": 1408}
TRAINED = [
    (row.paper, row.what, command)
    for row in ROWS
    for command in commands_of(row)
    if row.covered != "no" and "eaglenet_jax.sweep" in command
]


def stated(paper: str, name: str, config: Any) -> Fields:
    """What a paper states of a config on the page; `name` as --config takes it."""
    words = name.rpartition(":")[2].split(",")
    system = config.system
    fields = {**STATED[paper].get("any", {}), **STATED[paper][system]}
    if system == "eaglenet" and "ablations/" not in name:
        size = next(word for word in words if word in CLIP_SIZES)
        fields |= RELEASED.get((config.data.dataset, size), {})
    length = 64 if config.data.dataset in LONG[paper] else 12
    fields["max_frames"] = length
    if paper != "T-MASS":
        fields["max_words"] = 64 if length == 64 else 32
    if paper == "T-MASS" and system == "tmass" and config.data.dataset == "msrvtt":
        fields["optimizer.head_lr"] = 3e-5
    fields["clip.name"] = next(CLIP_SIZES[word] for word in words if word in CLIP_SIZES)
    fields["preset"] = "paper" if system == OWN[paper] != "eaglenet" else "released"
    if system == "crosstvr":
        tokens = VITG_TOKENS if "vitg" in words else B32_TOKENS
        fields |= {f"head.tokens.{part}": value for part, value in tokens.items()}
        if "crosstvr_ts2net" in words:
            fields["first_stage.system"] = "ts2net"
    return fields


@pytest.mark.parametrize(("paper", "what", "command"), TRAINED, ids=lambda value: re.sub(r"\W+", "_", value)[-60:])
def test_the_settings_of_a_command_are_those_that_the_paper_states(paper, what, command):
    for name, config in configs_of(command).items():
        changed = changed_fields(name)
        expected = {path: value for path, value in stated(paper, name, config).items() if path not in changed}
        assert {path: field(config, path) for path in expected} == expected, f"{what}, {name}"


@pytest.mark.long
@pytest.mark.parametrize("paper", STATED)
def test_the_systems_of_the_page_build(paper):
    """All of them; each of the main tables' kinds (head, frames, CLIP, tokens) with its parameters' shapes."""
    by_kind = {}
    for command in [command for of, _, command in TRAINED if of == paper]:
        for name, config in configs_of(command).items():
            build_system(config)
            if "ablations/" not in name:
                frames = 0 if config.system == "crosstvr" else config.max_frames  # those of its first head alone
                by_kind[config.system, frames, config.clip.name, str(config.head.get("tokens"))] = config
    for config in by_kind.values():
        system = build_system(config)
        shapes = system.shapes()
        assert check_config(config)[1] == shapes
        assert "total" in describe_groups(optimizer_settings(config, system.head.unused_parameters()), shapes)
        assert parameter_count(shapes) > 100_000
