"""A config as lines that a person reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def config_lines(config: Any, prefix: str = "") -> Iterator[str]:
    """Every field as "name = value", named with its dots as on the command line, in the order of the config."""
    for name, value in config.items():
        if hasattr(value, "items") and len(value):
            yield from config_lines(value, f"{prefix}{name}.")
        elif hasattr(value, "items"):
            yield f"{prefix}{name} = {{}}"
        else:
            yield f"{prefix}{name} = {value!r}"
