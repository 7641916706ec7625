"""What the configs share: defaults, the heads' switches, the presets and the arguments behind a colon.

A config is a file with get_config(argument), argument being what stands behind the colon of
`--config=configs/msrvtt.py:b16,released`: a preset (ours, released, paper), a system, a CLIP size, in any order.
The file of a dataset only says what is special about it (`Dataset`).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.claims import claim

PRESETS = ("ours", "released", "paper")
CLIP_SIZES = {"b32": "ViT-B/32", "b16": "ViT-B/16", "l14": "ViT-L/14"}
CLIP_WEIGHTS = {
    "b32": "openai/clip-vit-base-patch32",
    "b16": "openai/clip-vit-base-patch16",
    "l14": "openai/clip-vit-large-patch14",
}

HEADS: dict[str, dict[str, Any]] = {
    "clip4clip": {"temporal": "mean", "temporal_layers": 4, "mask_padding": True, "mask_repeated_videos": True},
    "xpool": {"pooling_heads": 1, "pooling_dropout": 0.3, "mask_padding": True, "mask_repeated_videos": True},
    "tmass": {
        "samples": 20,
        "support_weight": 0.8,
        "pooling_heads": 1,
        "pooling_dropout": 0.3,
        "mask_padding": True,
        "mask_repeated_videos": True,
    },
    "shenet": {
        "most_verbs": 6,
        "most_nouns": 10,
        "most_adjectives": 8,
        "frames_per_verb": 2,
        "patches_per_noun": 4,
        "verbs": True,
        "nouns": True,
        "adjectives": True,
        "text_syntax": True,
        "video_syntax": True,
        "weighted_nodes": True,
        "normalise": True,
        "logit_scale": 4.0,
        "scale_kind": "log",
        "temporal_layers": 4,
        "mask_padding": True,
        "mask_repeated_videos": True,
    },
    "eaglenet": {
        "candidates": 20,
        "candidate_choice": "graph",
        "candidate_noise": "uniform",
        "radius_bias": True,
        "frame_positions": True,
        "pooling_heads": 1,
        "pooling_dropout": 0.3,
        "pooling_input_norm": True,
        "support": "mean",
        "support_weight": 0.8,
        "loss_kind": "sigmoid",
        "initial_log_scale": 4.77,
        "initial_bias": -12.93,
        "energy": "mlp",
        "energy_pooling": "avg",
        "eam_weight": 1.0,
        "eam_support_weight": 1.0,
        "eam_negatives": True,
        "mask_padding": True,
        "mask_repeated_videos": True,
        "graph": {
            "kind": "rgat",
            "layers": 2,
            "heads": 4,
            "dropout_rate": 0.5,
            "shared_residual": True,
            "frame_frame_edges": True,
            "readout": "released",
        },
        "sampler": {
            "steps": 20,
            "step_size": 1.0,
            "noise_deviation": 0.005,
            "start": "ours",
            "buffer_rows": 500,
            "buffer_probability": 0.95,
        },
    },
}

# Its first stage is the head of the run that it starts from, filled in by `set_system`.
HEADS["crosstvr"] = {
    "first": {"system": "clip4clip", "head": HEADS["clip4clip"]},
    # Of a vision encoder of its own: a CLIP as in `init_from`, and how many tokens of which width it gives of a frame
    # (python -m eaglenet_jax.vision_tokens makes them). "": those of the first stage's encoder.
    "tokens": {"source": "", "count": 0, "width": 0},
    "transformer": {"width": 768, "layers": 12, "heads": 12, "hidden": 3072, "cross_every": 2, "dropout_rate": 0.1},
    "queries": 32,
    "selected": 4,
    "spatial": True,
    "temporal": True,
    "shared_weights": True,
    "negative_scale": 100.0,
    "top_k": 15,
    "blip2": "",  # folder of a BLIP-2 checkpoint (Hugging Face's form) whose Q-Former is the start
    "mask_padding": True,
    "mask_repeated_videos": True,
}

# What each preset changes in a head; `ours` is the table above. docs/DIFFERENCES.md has a row for each.
_UNMASKED = {"mask_padding": False, "mask_repeated_videos": False}
PRESET_HEADS: dict[str, dict[str, dict[str, Any]]] = {
    "released": {
        "clip4clip": {"mask_repeated_videos": False},  # the released CLIP4Clip leaves padding frames out
        "xpool": _UNMASKED,
        "tmass": _UNMASKED,
        # No program of these two is public; this is what those of their siblings do.
        "shenet": _UNMASKED,
        "crosstvr": _UNMASKED,
        "eaglenet": {**_UNMASKED, "sampler": {"start": "released"}},
    },
    "paper": {
        "shenet": {"normalise": False, "scale_kind": "factor"},  # as eq. 4 to 28 are written
        "eaglenet": {
            "candidate_noise": "normal",
            "radius_bias": False,
            "frame_positions": True,
            "pooling_input_norm": False,
            "pooling_dropout": 0.3,
            "support": "own",
            "energy": "bilinear",
            "eam_support_weight": 0.0,
            "eam_negatives": False,
            "graph": {"dropout_rate": 0.3, "shared_residual": False, "readout": "paper"},
            "sampler": {"start": "paper", "noise_deviation": math.sqrt(0.005)},
        },
    },
}

# Systems as they are asked for: a head and what is changed in it.
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in HEADS},
    "seqtransf": ("clip4clip", {"temporal": "transformer"}),
    "crosstvr_xpool": ("crosstvr", {}),
    "crosstvr_eaglenet": ("crosstvr", {}),
}
# What is trained first, for a system of two stages.
FIRST_STAGES = {"crosstvr": "clip4clip", "crosstvr_xpool": "xpool", "crosstvr_eaglenet": "eaglenet"}

# How the siblings were trained, where that is not as EagleNet was (SYSTEMS.md section 4).
_POOLING_OPTIMIZER = {
    "name": "adamw",
    "clip_lr": 1e-6,
    "head_lr": 1e-5,
    "schedule": "warmup_cosine",
    "per_tensor_clip": 0.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "eaglenet": {},
    "clip4clip": {"batch_size": 128},
    "xpool": {"batch_size": 32, "optimizer": _POOLING_OPTIMIZER},
    "tmass": {"batch_size": 32, "optimizer": _POOLING_OPTIMIZER},
    "shenet": {"batch_size": 96},
    "crosstvr": {"batch_size": 128, "pairwise_block": 16},
}

# Tokens of a frame by OpenAI's CLIPs, class token first.
CLIP_TOKENS = {
    "b32": {"count": 50, "width": 512},
    "b16": {"count": 197, "width": 512},
    "l14": {"count": 257, "width": 768},
}

# Token shift is part of the released EagleNet alone: blocks 10 and 11 of B/32 and B/16.
SHIFT_BLOCKS = {"b32": (10, 11), "b16": (10, 11), "l14": (22, 23)}


def defaults() -> ConfigDict:
    """Every field that a config has, with the values that most share."""
    return ConfigDict(
        {
            "name": "",
            "system": "eaglenet",
            "preset": "ours",
            "seed": 0,
            "batch_size": 64,
            "accumulate": 1,  # micro-batches an update, each with its own negatives
            "encode_micro_batches": 1,  # the encoders see the batch in that many parts, the loss all of it
            "pairwise_block": 0,  # texts scored at a time in the loss; 0: all
            "ema_decay": 0.0,  # of the moving average of the parameters that is evaluated; 0: none
            "early_stop": 0,  # evaluations without a better one that end the run; 0: never
            "profile": "",  # steps to trace, as "10:15"
            "compilation_cache": "",  # folder that keeps compiled programs for the next run
            "epochs": 5.0,
            "steps": 0,  # updates in all; 0: as many as `epochs` holds
            "max_words": 32,
            "max_frames": 12,
            "queries": "all",  # evaluate with "all" captions of a video, or its "first"
            "selection": "validation",  # split that chooses the best checkpoint: "validation" or "test"
            "init_from": "",  # Hugging Face CLIP (folder or name), or a work directory of ours
            "clip": {
                "name": "ViT-B/32",
                "shift_blocks": (),
                "mask_padding": True,
                "dtype": "float32",
                "remat": False,
            },
            "head": {},
            "optimizer": {
                "name": "bert_adam",
                "head_lr": 1e-4,
                "clip_lr": 1e-7,
                "weight_decay": 0.2,
                "schedule": "cosine",
                "warmup": 0.1,
                "global_clip": 1.0,
                "per_tensor_clip": 1.0,
                "freeze": "",  # patterns of parameters that stay as they are, with commas: "clip/.*"
                "clip_storage": "float32",  # "float16": CLIP's parameters are rounded to it after every update
                "groups": ((".*", {}),),
            },
            "data": {"dataset": "", "prepared": "", "workers": 2},
            "evaluation": {
                "every": 0,  # updates between evaluations on the selection split; 0: once an epoch
                "batch_size": 64,
                "noise": "per_text",
                "seed": 0,
                "ties": "mean",
                "count_missing": True,  # queries whose video is lost are misses, not left out
                "memory_budget": 1 << 30,  # bytes for one block of scores
            },
            "checkpoints": {"keep": 2},
            "sharding": {"params": "replicated"},  # or "fsdp": parameters and moments cut over the devices
            # "auto": Slurm, Open MPI, Kubernetes or a cloud says who takes part; "explicit": the fields beside it do
            "distributed": {"cluster": "none", "coordinator": "", "processes": 1, "process": 0},
            "claimed": {},  # what a paper claims for this config: eaglenet_jax/reports/claims.py
            "first_stage": {},  # a config that is trained first; its best checkpoint is where this one starts
        }
    )


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts: `base` with `changes` laid over it. A name that `base` does not have is an error."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        if key not in result:
            raise KeyError(key)
        result[key] = merged(result[key], value) if isinstance(value, Mapping) else value
    return result


def split_argument(argument: str, known: Sequence[str]) -> set[str]:
    """The words of "b32,released". UserError for one that is not known."""
    words = [word.strip() for word in (argument or "").split(",") if word.strip()]
    for word in words:
        if word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            raise UserError(f"--config: unknown argument {word!r}; {hint}")
    return set(words)


def chosen(words: set[str], among: Sequence[str], default: str) -> str:
    """The one of `among` that was asked for. UserError for two."""
    found = [word for word in among if word in words]
    if len(found) > 1:
        raise UserError(f"--config: {' and '.join(found)} exclude each other; give one of them")
    return found[0] if found else default


def set_system(config: ConfigDict, system: str, preset: str, **changes: Any) -> None:
    """Fills in `system`, `preset` and `head`: the head's defaults, what the dataset changes, then what the preset
    changes.
    """
    head = merged(HEADS[system], changes)
    config.system, config.preset = system, preset
    config.head = ConfigDict(merged(head, PRESET_HEADS.get(preset, {}).get(system, {})))
    config.clip.mask_padding = preset != "released"
    if preset == "released":
        config.evaluation.noise = "per_pair"
        config.evaluation.count_missing = False
        if system in ("eaglenet", "clip4clip"):  # X-Pool and T-MASS are programs of their own
            config.evaluation.ties = "released"
            config.optimizer.clip_storage = "float16"


def set_first_stage(config: ConfigDict, first: ConfigDict) -> None:
    """Makes a config of two stages start from `first`, whose encoders and head stay as they are then."""
    config.first_stage = first
    config.init_from = ""
    config.clip = ConfigDict(first.clip.to_dict())
    config.head.first = ConfigDict({"system": first.system, "head": first.head.to_dict()})
    config.optimizer.freeze = "(clip|head/first)/.*"


def set_clip(config: ConfigDict, size: str, preset: str) -> None:
    """One of OpenAI's CLIPs and where its weights come from."""
    config.clip.name = CLIP_SIZES[size]
    config.init_from = CLIP_WEIGHTS[size]
    shifted = config.system == "eaglenet" and preset != "paper"
    config.clip.shift_blocks = SHIFT_BLOCKS[size] if shifted else ()


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What is special about a dataset.

    name: of the config and of the data. queries: "first" or "all" captions of a video. words, frames: L and M.
    eaglenet: by CLIP size, the changes in EagleNet's head (SYSTEMS.md section 2.7). accumulate: micro-batches an update
    of the released EagleNet, each with its own negatives; other presets encode in as many parts and take the loss of
    the whole batch. recipes: by system, changes in the rest of the config.
    """

    name: str
    queries: str
    eaglenet: Mapping[str, Mapping[str, Any]]
    default_size: str = "b16"
    words: int = 32
    frames: int = 12
    accumulate: int = 1
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def config(self, argument: str = "") -> ConfigDict:
        """argument: a preset, a system and a CLIP size, such as "b32,released"."""
        words = split_argument(argument, (*PRESETS, *SYSTEMS, *CLIP_SIZES))
        preset = chosen(words, PRESETS, "ours")
        asked = chosen(words, tuple(SYSTEMS), "eaglenet")
        system, changes = SYSTEMS[asked]
        size = chosen(words, tuple(CLIP_SIZES), self.default_size)
        config = defaults()
        config.name = self.name
        config.queries = self.queries
        config.max_words, config.max_frames = self.words, self.frames
        config.data.dataset = self.name
        config.data.prepared = f"datasets/{self.name}"
        config.update(merged(RECIPES[system], {}))
        if system == "eaglenet":
            config["accumulate" if preset == "released" else "encode_micro_batches"] = self.accumulate
            config.pairwise_block = 0 if preset == "released" or self.accumulate == 1 else 8
            changes = dict(self.eaglenet.get(size, self.eaglenet["b16"]))
        config.update(merged(self.recipes.get(system, {}), {}))
        set_system(config, system, preset, **changes)
        set_clip(config, size, preset)
        if asked in FIRST_STAGES:
            set_first_stage(config, self.config(",".join([FIRST_STAGES[asked], size, preset])))
            config.head.tokens = ConfigDict({"source": CLIP_WEIGHTS["b32"], **CLIP_TOKENS["b32"]})
        config.claimed = ConfigDict(claim(self.name, size, asked))
        return config
