"""Lock files by which a process shows others of its machine that it lives: the system releases them when it ends."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

OLD_SECONDS = 24 * 3600.0  # after which the file of a process that was killed is deleted
PREFIX, SUFFIX = "eaglenet_jax_search_", ".lock"


class ProcessLock:
    """The lock of a process, held from `hold` to `release`.

    Args:
        worker: Id of the process.
    """

    def __init__(self, worker: str) -> None:
        self._file = _lock_file(worker)
        self._lock = FileLock(self._file)

    def hold(self) -> None:
        """Take the lock, and delete old files of processes that were killed."""
        self._lock.acquire(timeout=0)
        for file in self._file.parent.glob(f"{PREFIX}*{SUFFIX}"):
            # A newer one still says of the files that its process had that they are free.
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > OLD_SECONDS and _is_free(file):
                    file.unlink()

    def release(self) -> None:
        """Release the lock and delete its file."""
        self._lock.release()
        self._file.unlink(missing_ok=True)


def has_ended(worker: str) -> bool:
    """Return whether a process of this machine has ended; False where that is not known, as of other machines."""
    file = _lock_file(worker)
    return file.exists() and _is_free(file)


def _lock_file(worker: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{PREFIX}{worker}{SUFFIX}"


def _is_free(file: Path) -> bool:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, RuntimeError):  # held, another user's, or this process's own
        return False
    lock.release()
    return True
