"""The run-time type check that the jaxtyping import hook applies to functions of the model code."""

from __future__ import annotations

from typing import Any

from beartype import beartype


def functions_only(checked: Any, *args: Any, **kwargs: Any) -> Any:
    """Beartype for functions and methods, nothing for constructors.

    Pytrees are rebuilt from whatever their leaves became (shapes in eval_shape, axes in vmap, shardings), so the
    constructor of a dataclass must take anything.
    """
    return checked if checked.__qualname__.endswith(".__init__") else beartype(checked, *args, **kwargs)
