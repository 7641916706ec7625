"""Options of a head: its dataclass fields, except those that the encoders decide.

Defaults are stated only in the fields; configs, checkpoints and the command line read them through these functions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eaglenet_jax.errors import UserError, nearest

NOT_OPTIONS = frozenset({"parent", "name", "dtype"})  # flax's own fields, and the compute type
DROPOUT_ENDINGS = ("dropout", "dropout_rate")  # of the names of dropout rates


def default_options(head: type, decided: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a head's class with their defaults, nested dataclasses as dicts.

    Args:
        head: A subclass of `Head`.
        decided: Fields that the encoders decide, from `Head.decided_fields`; they are not options.

    Returns:
        Default by name, as JSON values.

    Raises:
        TypeError: A field has no default and is not decided by the encoders.
    """
    options = {}
    for field in _option_fields(head, decided):
        if field.default is dataclasses.MISSING:
            raise TypeError(f"{head.__name__}.{field.name} needs a default, or a place in decided_fields")
        options[field.name] = _plain(field.default, decided.get(field.name, {}))
    return options


def head_fields(
    head: type, options: Mapping[str, Any], known: Mapping[str, Any], decided: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that a head is built with.

    Args:
        head: A subclass of `Head`.
        options: Values of its options; those that are absent keep their defaults.
        known: All options with their defaults.
        decided: Fields that the encoders decide, as in `default_options`.

    Returns:
        Value by field.

    Raises:
        UserError: An option is unknown.
    """
    check_known(head.__name__, options, known)
    check_bounds(options, getattr(head, "bounds", {}))
    fields = {name: value for name, value in decided.items() if not isinstance(value, Mapping)}
    for field in _option_fields(head, decided):
        if dataclasses.is_dataclass(field.default):
            nested = {**options.get(field.name, {}), **decided.get(field.name, {})}
            fields[field.name] = dataclasses.replace(field.default, **nested)  # type: ignore[type-var]
        elif field.name in options:
            fields[field.name] = options[field.name]
    return fields


def check_known(what: str, options: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> None:
    """Raise UserError for an option that is not in `known`, nested ones included."""
    for name, value in options.items():
        if name not in known:
            near = nearest(name, known)  # without the prefix, by which all are alike
            hint = f"did you mean {prefix + near!r}?" if near else f"it has {', '.join(known)}"
            raise UserError(f"config.head: {what} has no option {prefix}{name}; {hint}")
        if isinstance(known[name], Mapping):
            if not isinstance(value, Mapping):
                raise UserError(f"config.head: {prefix}{name} of {what} is {value!r}; give its options as a mapping")
            check_known(what, value, known[name], f"{prefix}{name}.")


def check_choices(head: Any, **choices: Sequence[str]) -> None:
    """Raise ValueError for a field whose value is not among its choices."""
    for name, known in choices.items():
        value = getattr(head, name)
        if value not in known:
            raise ValueError(f"{type(head).__name__}.{name} {value!r} is none of {', '.join(known)}")


def check_bounds(options: Mapping[str, Any], bounds: Mapping[str, tuple[int | float, int | float]]) -> None:
    """Raise UserError for an option outside its bounds; a dropout rate is always in [0, 1).

    Args:
        options: Values by name.
        bounds: Smallest and largest value by name, with dots for nested options, both allowed.
    """
    for name, value in _leaves(options):
        least, most = bounds.get(name, (-math.inf, math.inf))
        if name.endswith(DROPOUT_ENDINGS) and not 0 <= value < 1:
            raise UserError(f"config.head.{name} is {value}; a dropout rate is 0 or more and below 1")
        if name in bounds and not (least <= value <= most and math.isfinite(value)):
            allowed = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
            raise UserError(f"config.head.{name} is {value}; give {allowed}")


def _leaves(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _option_fields(head: type, decided: Mapping[str, Any]) -> list[dataclasses.Field[Any]]:
    return [
        field
        for field in dataclasses.fields(head)
        if field.name not in NOT_OPTIONS | getattr(head, "not_options", frozenset())
        and (field.name not in decided or isinstance(decided[field.name], Mapping))
    ]


def _plain(default: Any, without: Mapping[str, Any]) -> Any:
    if not dataclasses.is_dataclass(default) or isinstance(default, type):
        return default
    return {name: value for name, value in dataclasses.asdict(default).items() if name not in without}
