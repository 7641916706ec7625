"""Lock that lets one process at a time build a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from eaglenet_jax.waiting_lock import waiting_lock


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, after waiting for another process that builds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with waiting_lock(folder / ".lock", f"prepares {folder}"):
        yield
