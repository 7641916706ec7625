"""Overrides of a config that would do nothing: old names, and fields that another field makes meaningless."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eaglenet_jax.errors import UserError

PREFIX = "--config."
FIRST = "first_stage."
# Old name → today's; of a field, or of all fields within.
RENAMED = {"pretrain": "first_stage", "optimizer.lr": "optimizer.head_lr"}


class Meaningless(NamedTuple):
    """Fields that are not read where a condition holds on the config of their stage."""

    fields: tuple[str, ...]
    where: Callable[[Any], bool]
    reason: str


def _weight(config: Any, name: str) -> float:
    return float(config.head.get(name, 1.0))


MEANINGLESS = (
    Meaningless(("epochs",), lambda config: bool(config.steps), "config.steps goes before; add --config.steps=0"),
    Meaningless(
        ("data.root", "data.splits", "data.seed", "data.fps", "data.size"),
        lambda config: bool(config.data.prepared),
        "the data of config.data.prepared are rendered already; leave one of the two out",
    ),
    Meaningless(
        ("head.tokens.count", "head.tokens.width"),
        lambda config: not config.head.tokens.source,
        "the tokens are those of the first stage's encoder; give --config.head.tokens.source as well",
    ),
    Meaningless(
        ("head.temporal_layers",),
        lambda config: config.head.get("temporal", "transformer") == "mean",
        "config.head.temporal is 'mean', which has no layers; use the system seqtransf",
    ),
    Meaningless(
        ("head.energy", "head.energy_pooling", "head.eam_negatives", "head.sampler"),
        lambda config: not _weight(config, "eam_weight") and not _weight(config, "eam_support_weight"),
        "config.head.eam_weight and config.head.eam_support_weight are 0, so no energy is trained",
    ),
    Meaningless(
        ("head.graph",),
        lambda config: config.head.get("candidate_choice") == "best",
        "config.head.candidate_choice is 'best', which has no graph",
    ),
    Meaningless(
        ("head.initial_log_scale", "head.initial_bias"),
        lambda config: config.head.get("loss_kind") != "sigmoid",
        "they are where the sigmoid loss starts, and config.head.loss_kind is another",
    ),
    Meaningless(
        ("head.initial_logit_scale",),
        lambda config: config.head.get("loss_kind") != "softmax",
        "it is where the softmax loss starts, and config.head.loss_kind is another",
    ),
    Meaningless(
        ("head.logit_scale", "head.scale_kind"),
        lambda config: config.head.get("loss_kind", "fixed_softmax") != "fixed_softmax",
        "it is the scale of the fixed_softmax loss, and config.head.loss_kind is another",
    ),
)


def check_names(overrides: Sequence[str]) -> None:
    """Refuse fields by a name that they had once.

    Raises:
        UserError: naming the field of today.
    """
    for override in overrides:
        name, equals, value = override.removeprefix(PREFIX).partition("=")
        stage = FIRST * (len(stages_and_field(name)) - 1)
        field = name.removeprefix(stage)
        for old, new in RENAMED.items():
            if field == old or field.startswith(f"{old}."):
                raise UserError(
                    f"{override}: config.{stage}{old} is called config.{stage}{new} now; write "
                    f"{PREFIX}{stage}{new}{field.removeprefix(old)}{equals}{value}"
                )


def check_used(overrides: Sequence[str], configs: Sequence[Any]) -> None:
    """Refuse overrides that nothing would be computed from, in any of the configs that have them.

    Args:
        overrides: As they were given, "--config.epochs=3".
        configs: Resolved, with all of them; several rows of a table may read different fields.

    Raises:
        UserError: naming the override and what makes it meaningless.
    """
    for override in overrides:
        reasons = [_meaningless(override, config) for config in configs]
        if reasons and all(reasons):
            raise UserError(f"{override} would change nothing: {reasons[0]}")


def _meaningless(override: str, config: Any) -> str:
    """Why nothing reads the field of an override; "" if something does."""
    *before, field = stages_and_field(override.removeprefix(PREFIX).partition("=")[0])
    stage = functools.reduce(lambda part, name: part[name], before, config)
    for fields, where, reason in MEANINGLESS:
        if any(field == name or field.startswith(f"{name}.") for name in fields) and where(stage):
            return reason
    return ""


def stages_and_field(name: str) -> list[str]:
    """The parts of a field's name: a "first_stage" for every stage before the last one, then the field in its stage."""
    stages = []
    while name.startswith(FIRST):
        stages.append(FIRST.removesuffix("."))
        name = name.removeprefix(FIRST)
    return [*stages, name]
