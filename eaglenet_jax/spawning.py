"""Processes that are spawned: what they must not import."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Hide the main module from processes that are spawned in this context."""
    # A spawned process imports the main module of its parent. Here that would be a training program, with JAX and
    # seconds of start-up, or a script without a guard, which would run again in every worker.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
