"""Adding videos to an index: read, encode in batches, commit whole files now and then."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.scoring.host import to_host
from eaglenet_jax.search.files import Plan, find_videos, is_current, make_plan, named
from eaglenet_jax.search.model import SearchModel, mean_of_frames
from eaglenet_jax.search.progress import IndexingLine
from eaglenet_jax.search.reading import FileEnd, ReadWindow, read_files
from eaglenet_jax.search.store import FileState, Store, StoredWindow

BATCH = 8  # windows that are encoded at a time
COMMIT_SECONDS = 20.0
COMMIT_WINDOWS = 2000
NOT_FINITE = "the model's features of it are not finite, or too large for the index (65504)"


@dataclasses.dataclass(frozen=True)
class Added:
    """What `add_videos` did. new, changed, unchanged, dropped: files; dropped are also those whose new content cannot
    be read, which are in `failed` too. windows: rows that were written. elsewhere: files
    that another process indexed meanwhile. failed: by path, why a file could not be read. warnings: by path, what is
    wrong with a file that was indexed all the same. seconds: that it took.
    """

    new: int
    changed: int
    unchanged: int
    dropped: int
    windows: int
    elsewhere: int
    failed: Mapping[str, str]
    warnings: Mapping[str, str]
    seconds: float


def add_videos(store: Store, model: SearchModel, places: Sequence[Path], progress: bool = True) -> Added:
    """Brings the index up to date with files and folders: new and changed files are indexed, those that are no longer
    there are dropped. Files of other places stay as they are.

    A file's rows are committed together, so a process that was killed has left whole files, and another call goes on.
    Several processes may do the same at once. UserError for a place that is not there, or an index that cannot be
    written.
    """
    started = time.monotonic()
    places = list(dict.fromkeys(map(named, places)))
    plans = [make_plan(place, find_videos(place), store.files(str(place))) for place in places]
    changed = {str(file) for plan in plans for file in plan.changed}
    todo = list(dict.fromkeys(file for plan in plans for file in (*plan.new, *plan.changed)))
    dropped = _drop(store, plans)
    # In an order of its own, so that processes that do the same meet as late as they can.
    random.SystemRandom().shuffle(todo)
    writing = _Writing(store, model, places, changed)
    with IndexingLine(todo, shown=progress) as line:
        stream = read_files(todo, model, store.settings.rule, ahead=2 * BATCH, done=writing.is_done)
        try:
            for batch in _batches(stream, writing, line):
                for file, reason in writing.encode(batch):
                    line.trouble(file, reason)
                for read in batch:
                    line.reached(read.file, read.share)
        finally:
            stream.close()
            writing.commit()  # also when the user has stopped it
    store.tidy()
    new = len(writing.finished - changed)
    return Added(
        new=new,
        changed=len(writing.finished & changed),
        unchanged=len({file for plan in plans for file in plan.unchanged}),
        dropped=dropped + writing.dropped,
        windows=writing.written,
        elsewhere=writing.elsewhere,
        failed=writing.failed,
        warnings=writing.warnings,
        seconds=time.monotonic() - started,
    )


def _drop(store: Store, plans: Sequence[Plan]) -> int:
    gone = {path for plan in plans for path in plan.gone}
    store.drop(gone)
    for plan in plans:
        store.drop(plan.replaced, keep=plan.replaced)
    return len(gone)


def _batches(
    stream: Iterator[ReadWindow | FileEnd], writing: _Writing, line: IndexingLine
) -> Iterator[list[ReadWindow]]:
    """Full batches while files go on, and one that is not full at the end."""
    batch: list[ReadWindow] = []
    for result in stream:
        if isinstance(result, FileEnd):
            line.finished(result.file, writing.end(result))
            continue
        batch.append(result)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Writing:
    """Rows on their way into the store, kept until all of their file are there."""

    def __init__(self, store: Store, model: SearchModel, places: Sequence[Path], changed: set[str]) -> None:
        self._store, self._model, self._places, self._changed = store, model, places, changed
        self._indexed: dict[str, list[FileState]] = {}  # by other processes, since this one began
        self._rows: dict[str, list[StoredWindow]] = {}
        self._expected: dict[str, int] = {}
        self._committed = time.monotonic()
        self._size = len(store)
        self.finished: set[str] = set()
        self.written = self.elsewhere = self.dropped = 0
        self.failed: dict[str, str] = {}
        self.warnings: dict[str, str] = {}

    def is_done(self, file: Path) -> bool:
        """Whether another process has indexed a file since this one looked."""
        return any(is_current(file, state) for state in self._indexed.get(str(file), ()))

    def end(self, end: FileEnd) -> str | None:
        """A file has given all of its windows. What is to be said about it."""
        path = str(end.file)
        if path in self.failed:
            return None  # by its features, which has been said
        if end.reason is not None:
            return self._fail(path, end.reason)
        if not end.windows:
            self.elsewhere += 1
            return None
        self._expected[path] = end.windows
        if end.warning:
            self.warnings[path] = end.warning
        return end.warning

    def _fail(self, path: str, reason: str) -> str:
        """A file gives no rows, and loses those of an older content."""
        self._rows.pop(path, None)
        self._expected.pop(path, None)
        self.warnings.pop(path, None)
        if path in self._changed:
            self._store.drop([path])
            self.dropped += 1
            reason += "; it has changed, and what was indexed of it before is dropped"
        self.failed[path] = reason
        return reason

    def encode(self, batch: Sequence[ReadWindow]) -> list[tuple[Path, str]]:
        """Features of windows; commits when it is time. Files whose features are of no use, and why."""
        rows = [*batch, *[batch[-1]] * (BATCH - len(batch))]  # one size, one compiled program
        features = to_host(
            self._model.encode_windows(np.stack([read.frames for read in rows]), [read.count for read in rows])
        )
        pooled = mean_of_frames(features.frames, features.mask)
        with np.errstate(over="ignore"):
            stored = features.frames.astype(np.float16)
        unusable: list[tuple[Path, str]] = []
        for number, read in enumerate(batch):
            if read.window.path in self.failed:
                continue  # it broke while this window was waiting
            if not (np.isfinite(stored[number]).all() and np.isfinite(pooled[number]).all()):
                unusable.append((read.file, self._fail(read.window.path, NOT_FINITE)))
                continue
            vectors: dict[str, Any] = {"pooled": pooled[number], "frames": stored[number]}
            self._rows.setdefault(read.window.path, []).append(dataclasses.replace(read.window, **vectors))
        waiting = sum(map(len, self._rows.values()))
        if waiting >= COMMIT_WINDOWS or time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()
        return unusable

    def commit(self) -> None:
        """Writes the files that are complete, and looks at what other processes have written."""
        complete = [path for path, count in self._expected.items() if len(self._rows.get(path, ())) == count]
        rows = [row for path in complete for row in self._rows.pop(path)]
        self._store.add(rows)
        old = [path for path in complete if path in self._changed]
        self._store.drop(old, keep={row.path: row.file.hash for row in rows if row.file is not None})
        for path in complete:
            del self._expected[path]
        self.finished |= set(complete)
        self.written += len(rows)
        self._committed = time.monotonic()
        before, self._size = self._size, len(self._store)
        if self._size != before + len(rows):
            for place in self._places:
                self._indexed |= self._store.files(str(place))
