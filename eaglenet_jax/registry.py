"""Heads by name, or by "package.module:Class" for one that lives elsewhere.

A new head of this project is one file in heads/ and one line here.
"""

from __future__ import annotations

import importlib
from typing import Any

from eaglenet_jax.errors import UserError, did_you_mean

HEADS = {
    "clip4clip": "eaglenet_jax.heads.clip4clip:Clip4Clip",
    "xpool": "eaglenet_jax.heads.xpool:XPool",
    "tmass": "eaglenet_jax.heads.tmass:TMass",
    "ts2net": "eaglenet_jax.heads.ts2net:Ts2Net",
    "eaglenet": "eaglenet_jax.heads.eaglenet:EagleNet",
    "shenet": "eaglenet_jax.heads.shenet:SheNet",
    "crosstvr": "eaglenet_jax.heads.crosstvr:CrossTvr",
}
# The base of all heads, by name: heads/crosstvr.py imports this file, so this file cannot import heads/interface.py.
BASE = ("eaglenet_jax.heads.interface", "Head")


def head_class(name: str) -> Any:
    """Import the class of a head.

    Args:
        name: A name of `HEADS`, or "package.module:Class" of a subclass of `eaglenet_jax.Head` that Python can import.

    Returns:
        The class, a subclass of `heads.interface.Head`.

    Raises:
        UserError: There is no such name, module or class, or the class is no head.
    """
    place = HEADS.get(name, name)
    module, colon, attribute = place.partition(":")
    if not (module and colon and attribute):
        hint = did_you_mean(name, HEADS, f"choose one of {', '.join(HEADS)}")
        raise UserError(f"config.system: no system is named {name!r}; {hint}, or give package.module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"config.system: {name!r} cannot be imported: {error}; is it on Python's path?") from error
    bases = found.__mro__[1:] if isinstance(found, type) else ()
    if BASE not in [(base.__module__, base.__qualname__) for base in bases]:
        raise UserError(f"config.system: {name!r} is no head; make it a subclass of eaglenet_jax.Head")
    return found
