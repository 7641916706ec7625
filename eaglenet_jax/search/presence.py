"""Rows of an index whose files are there, and rows that follow a file to its new path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eaglenet_jax.search.files import Plan, content_hash
from eaglenet_jax.search.rows import FileState, StoredWindow, window_id
from eaglenet_jax.search.store import Store

MORE = 4  # times as many rows are looked at again while files of the nearest ones are gone


class PresentRows:
    """A store's rows without those whose file is gone: what a query may answer with.

    Args:
        store: The index.
        where: SQL condition that the rows have to meet as well.

    Attributes:
        settings: Settings of the store.
        gone: Paths that were left out so far.
    """

    def __init__(self, store: Store, where: str | None = None) -> None:
        self._store, self._where = store, where
        self.settings = store.settings
        self.gone: set[str] = set()

    def nearest(self, vector: np.ndarray, limit: int, frames: bool = False) -> list[StoredWindow]:
        """Return the nearest rows as `Store.nearest`, at most `limit` of files that exist."""
        asked, exists = limit, dict[str, bool]()
        while True:
            found = self._store.nearest(vector, asked, frames, self._where)
            for window in found:
                if window.path not in exists:
                    exists[window.path] = Path(window.path).exists()
            kept = [window for window in found if exists[window.path]]
            if len(kept) >= limit or len(found) < asked:
                self.gone |= {path for path, there in exists.items() if not there}
                return kept[:limit]
            asked *= MORE


def follow_moved(store: Store, plans: Sequence[Plan], moved: dict[Path, str]) -> list[Plan]:
    """Give the rows of files that were moved or renamed their new paths, so that these are not read again.

    A new file is an indexed one if it has the same size and content and that one is no longer at its path.

    Args:
        store: The index.
        plans: What is to be done.
        moved: Receives each file, and its former path, as soon as its rows have the new one.

    Returns:
        The plans without the work that this saves.
    """
    new = list(dict.fromkeys(file for plan in plans for file in plan.new))
    if not new:
        return list(plans)
    lost: dict[int, list[tuple[str, FileState]]] = {}
    for path, states in store.files("/").items():
        if not Path(path).exists():
            for state in states:
                lost.setdefault(state.size, []).append((path, state))
    for file in new:
        try:
            status = file.stat()
            candidates = lost.get(status.st_size, [])
            content = content_hash(file) if candidates else ""
        except OSError:
            continue  # indexing tries to read it and reports the error
        found = next((pair for pair in candidates if pair[1].hash == content and pair[0] not in moved.values()), None)
        if found is not None:
            state = FileState(content, status.st_size, status.st_mtime_ns)
            _move(store, found[0], str(file), state)
            moved[file] = found[0]
    left = set(moved.values())
    return [
        dataclasses.replace(
            plan,
            new=tuple(file for file in plan.new if file not in moved),
            gone=tuple(path for path in plan.gone if path not in left),
        )
        for plan in plans
    ]


def _move(store: Store, old: str, new: str, state: FileState) -> None:
    rows = [
        dataclasses.replace(row, id=window_id(new, state.hash, row.start), path=new, file=state)
        for row in store.rows(old)
        if row.file is not None and row.file.hash == state.hash
    ]
    store.add(rows)
    store.drop([old])


def prune(store: Store) -> int:
    """Delete the rows of all files that are no longer at their paths; return the number of files."""
    gone = [path for path in store.files("/") if not Path(path).exists()]
    store.drop(gone)
    return len(gone)
