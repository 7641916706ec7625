"""Lock that lets one process at a time make something, while the others wait for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def waiting_lock(file: Path, what: str) -> Iterator[None]:
    """Hold a lock, after waiting for another process that has it.

    The system releases the lock of a killed process.

    Args:
        file: Of the lock; it stays.
        what: What a process that holds it does, for the line that is printed before waiting: "prepares DIR".
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that {what}", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
