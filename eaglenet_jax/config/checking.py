"""Checks of a config before data are opened: choices, bounds, fields that exclude each other."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.metrics.ranks import TIE_RULES
from eaglenet_jax.system import System, build_system
from eaglenet_jax.training.profile import StepProfile
from eaglenet_jax.training.sharding import PARAMETER_SHARDINGS

SPLIT_OF_SELECTION = {"validation": "val", "test": "test"}
CHOICES = {
    "selection": tuple(SPLIT_OF_SELECTION),
    "queries": ("all", "first"),
    "sharding.params": PARAMETER_SHARDINGS,
    "distributed.cluster": ("none", "auto", "explicit"),
    "optimizer.logit_scale": ("head", "clip"),
    "evaluation.noise": ("per_text", "per_pair"),
    "evaluation.ties": TIE_RULES,
}
AT_LEAST: dict[str, float] = {
    "seed": 0,
    "batch_size": 1,
    "accumulate": 1,
    "steps": 0,
    "epochs": 0,
    "max_words": 3,  # start token, one word, end token
    "max_frames": 1,
    "encode_micro_batches": 1,
    "pairwise_block": 0,
    "early_stop": 0,
    "optimizer.head_lr": 0,
    "optimizer.clip_lr": 0,
    "optimizer.weight_decay": 0,
    "optimizer.global_clip": 0,
    "optimizer.per_tensor_clip": 0,
    "data.workers": 0,
    "evaluation.every": 0,
    "evaluation.batch_size": 1,
    "evaluation.seed": 0,
    "evaluation.memory_budget": 1,
    "checkpoints.keep": 1,
    "distributed.processes": 1,
    "distributed.process": 0,
}
# Of fields that not every config has. Heads check their options when they are built (`Head.bounds`).
AT_LEAST_WHERE_THERE: dict[str, float] = {
    "data.seed": 0,
    "data.size": 1,
    "data.fps": 0.001,
    "data.splits.train": 1,
    "data.splits.validate": 1,
    "data.splits.test": 1,
}
# Fields of `distributed` that only cluster=explicit reads.
EXPLICIT_FIELDS = {"coordinator": "", "processes": 1, "process": 0}


def field(config: Any, name: str) -> Any:
    """The value of a field named with its dots. KeyError where there is none."""
    return functools.reduce(lambda part, key: part[key], name.split("."), config)


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a config that hold values, by their names with dots, in the order of the config."""
    for name, value in config.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_config(config: Any) -> tuple[System, Any]:
    """Check one stage of a config without its data → (its system, the shapes of its parameters).

    Raises:
        UserError: naming the first field that is wrong, and what it may be.
    """
    _check_values(config)
    _check_pairs(config)
    StepProfile.of(config.profile, Path())
    try:
        system = build_system(config)
        return system, system.shapes()
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"the config describes no system: {first_line(error)}") from error


def _check_values(config: Any) -> None:
    for name, choices in CHOICES.items():
        if field(config, name) not in choices:
            raise UserError(f"config.{name} is {field(config, name)!r}; choose {' or '.join(choices)}")
    values = dict(leaves(config))
    bounds = AT_LEAST | {name: least for name, least in AT_LEAST_WHERE_THERE.items() if name in values}
    for name, least in bounds.items():
        value = field(config, name)
        if not value >= least or not math.isfinite(value):  # a comparison with nan is False
            raise UserError(f"config.{name} is {value}; give {least} or more")
    if not 0 <= config.ema_decay < 1:
        raise UserError(f"config.ema_decay is {config.ema_decay}; give 0 (no average) or a number below 1")


def _check_pairs(config: Any) -> None:
    """Fields that have to fit each other, or of which one makes the other meaningless."""
    if not config.steps and not config.epochs:
        raise UserError("config.steps and config.epochs are both 0: nothing would be trained; give one of them")
    for parts in ("accumulate", "encode_micro_batches"):
        if config.batch_size % config[parts]:
            raise UserError(f"config.batch_size {config.batch_size} is no multiple of config.{parts} {config[parts]}")
    if config.accumulate > 1 and config.encode_micro_batches > 1:
        raise UserError("config.accumulate and config.encode_micro_batches exclude each other; set one of them to 1")
    if config.first_stage and config.init_from:
        raise UserError(
            f"config.init_from={config.init_from} is ignored where config.first_stage trains first; give "
            "config.first_stage.init_from, from which the first stage starts, or train a config of one stage"
        )
    if config.clip.get("name") and "vision_layers" in config.clip:
        raise UserError(
            f"config.clip.name={config.clip.name} is ignored where config.clip gives every size; leave it empty, or "
            "use a config that names its CLIP, as msrvtt:b32"
        )
    if config.cached_features:
        _check_cached_features(config)
    if config.distributed.cluster != "explicit":
        given = [name for name, default in EXPLICIT_FIELDS.items() if config.distributed[name] != default]
        if given:
            raise UserError(
                f"config.distributed.{given[0]} is read with --config.distributed.cluster=explicit alone; add that, or "
                "leave it out"
            )


def _check_cached_features(config: Any) -> None:
    """Refuse what nothing would read where the encoders run once, before training."""
    if not config.first_stage and not config.init_from:
        raise UserError(
            "config.cached_features freezes the CLIP, which would stay random; give config.init_from, a CLIP or a work "
            "directory, or a config with a first stage"
        )
    if config.encode_micro_batches > 1:
        raise UserError(
            "config.encode_micro_batches is about the encoders' memory in a training step, and with "
            "config.cached_features they are not in it; set it to 1"
        )
    # A first stage has the same CLIP and may train it.
    if config.clip.get("remat") and not config.first_stage:
        raise UserError(
            "config.clip.remat is about the encoders' backward pass, and with config.cached_features there is none; "
            "leave one of the two out"
        )
