"""Files that are either there completely or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from eaglenet_jax.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file next to the target, flushes it to the disk, and renames it; survives `kill -9` at any moment.

    UserError when the disk is full or the folder not to be written into; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}; make room or give another folder, and run again"
        ) from error
