"""Every field that a config has, with the value that most configs share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


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
            "compilation_cache": "auto",  # where compiled programs are kept for the next run; "": nowhere
            "epochs": 5.0,
            "steps": 0,  # updates in all; 0: as many as `epochs` holds
            "max_words": 32,
            "max_frames": 12,
            "queries": "all",  # evaluate with "all" captions of a video, or its "first"
            "selection": "validation",  # split that chooses the best checkpoint: "validation" or "test"
            "cached_features": False,  # freeze the CLIP and train the head on features that are computed once
            "init_from": "",  # Hugging Face CLIP (folder or name), a work directory or an exported model
            "clip": {
                "name": "ViT-B/32",
                "shift_blocks": (),
                "mask_padding": True,
                "dtype": "float32",
                "remat": False,  # recompute activations in the backward pass: less memory, more time
                "attention": "auto",  # by cuDNN's kernel on recent GPUs in bfloat16; "xla" is without it
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
                "logit_scale": "head",  # or "clip": whose rate the logit scale of a softmax loss has
                "groups": ((".*", {}),),  # (pattern, rule) in order, see training/optimizer.py
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
            # "auto": detected from Slurm, Open MPI, Kubernetes or a cloud; "explicit": from the three fields here
            "distributed": {"cluster": "none", "coordinator": "", "processes": 1, "process": 0},
            "claim": "",  # the published numbers that its results are compared with, see reports/claims.py
            "first_stage": {},  # a config that is trained first; its best checkpoint is where this one starts
        }
    )


def change(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Set fields of a config to copies of values that several configs share, so that none changes another's.

    Args:
        config: Changed in place.
        changes: Nested dicts of fields.
    """
    config.update(copy.deepcopy(dict(changes)))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts: `base` with `changes` laid over it. A name that `base` does not have is an error."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        if key not in result:
            raise KeyError(key)
        result[key] = merged(result[key], value) if isinstance(value, Mapping) else value
    return result
