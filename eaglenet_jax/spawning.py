"""Processes that are spawned: what they must not import, and how they end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator


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


def _end_at_once() -> None:
    os._exit(1)


def end_with_parent(end: Callable[[], object] = _end_at_once) -> None:
    """Make this spawned process end when its parent does, and leave Ctrl-C to the parent.

    Args:
        end: What is called, in a thread, when the parent has ended; by default the process ends at once.
    """
    # Ctrl-C reaches every process of a terminal, but only the parent should handle it. Workers of a killed parent would
    # wait for their next job forever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            end()

    threading.Thread(target=watch, daemon=True).start()
