"""Overrides of a config that would do nothing: old names, and fields that another field makes meaningless.

Of the options of a head, the head says which ones nothing reads (`Head.unread_options`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import head_class

PREFIX = "--config."
FIRST = "first_stage."
# Old name → today's; of a field, or of all fields within.
RENAMED = {"pretrain": "first_stage", "optimizer.lr": "optimizer.head_lr"}


class Meaningless(NamedTuple):
    """Fields that are not read where a condition holds on the config of their stage."""

    fields: tuple[str, ...]
    where: Callable[[Any], bool]
    reason: str


MEANINGLESS = (
    Meaningless(("epochs",), lambda config: bool(config.steps), "config.steps takes precedence; add --config.steps=0"),
    Meaningless(
        ("data.root", "data.splits", "data.seed", "data.fps", "data.size"),
        lambda config: bool(config.data.prepared),
        "the data of config.data.prepared are rendered already; leave one of the two out",
    ),
    Meaningless(
        ("optimizer.clip_storage",),
        lambda config: config.cached_features,
        "config.cached_features freezes the CLIP; leave one of the two out",
    ),
    Meaningless(
        ("optimizer.clip_lr",),
        lambda config: config.cached_features and config.optimizer.logit_scale != "clip",
        "config.cached_features freezes the CLIP; leave one of the two out",
    ),
    Meaningless(
        ("optimizer.logit_scale",),
        lambda config: config.head.get("loss_kind") != "softmax",
        "the head has no logit scale that is trained; leave it out, or take --config.head.loss_kind=softmax",
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
    unread = {name: reason for names, where, reason in MEANINGLESS for name in names if where(stage)}
    if field.startswith("head."):
        of_head = head_class(stage.system).unread_options(stage.head.to_dict())
        unread |= {f"head.{name}": reason for name, reason in of_head.items()}
    return next((why for name, why in unread.items() if field == name or field.startswith(f"{name}.")), "")


def stages_and_field(name: str) -> list[str]:
    """The parts of a field's name: a "first_stage" for every stage before the last one, then the field in its stage."""
    stages = []
    while name.startswith(FIRST):
        stages.append(FIRST.removesuffix("."))
        name = name.removeprefix(FIRST)
    return [*stages, name]
