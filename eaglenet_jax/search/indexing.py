"""Adding videos to an index: read, encode in batches, commit whole files from time to time."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.scoring.host import to_host
from eaglenet_jax.search.files import Plan, find_videos, is_current, make_plan, named
from eaglenet_jax.search.model import SearchModel, mean_of_frames
from eaglenet_jax.search.presence import follow_moved
from eaglenet_jax.search.progress import IndexingLine
from eaglenet_jax.search.reading import FileEnd, ReadWindow, read_files
from eaglenet_jax.search.store import FileState, Store, StoredWindow

BATCH = 8  # windows that are encoded at a time
COMMIT_SECONDS = 20.0
COMMIT_WINDOWS = 2000
NOT_FINITE = "the model's features of it are not finite, or too large for the index (65504)"


@dataclasses.dataclass(frozen=True)
class Added:
    """Result of `add_videos`.

    Attributes:
        new: New files that were indexed.
        changed: Changed files that were indexed again.
        unchanged: Files that were left alone.
        dropped: Files whose rows were deleted, including those whose new content cannot be read, which are in `failed`
            too.
        windows: Rows that were written.
        elsewhere: Files that another process indexed in the meantime.
        moved: Files that were moved or renamed: their rows have their new paths.
        failed: By path, why a file could not be read.
        unreadable: By path, folders that could not be listed, and why.
        passed: Number of files that go by no name of videos, by suffix.
        warnings: By path, what is wrong with a file that was indexed nevertheless.
        seconds: Duration.
    """

    new: int
    changed: int
    unchanged: int
    dropped: int
    windows: int
    elsewhere: int
    moved: int
    failed: Mapping[str, str]
    unreadable: Mapping[str, str]
    passed: Mapping[str, int]
    warnings: Mapping[str, str]
    seconds: float


def add_videos(store: Store, model: SearchModel, places: Sequence[Path], progress: bool = True) -> Added:
    """Bring the index up to date with files and folders.

    New and changed files are indexed, moved ones keep their rows, and those that no longer exist are dropped. Files of
    other places are left alone. What cannot be read is passed over and named.
    A file's rows are committed together, so a killed process leaves whole files, and the next call indexes the rest.
    Several processes may index the same places at once.

    Args:
        store: The index.
        model: Its model.
        places: Files and folders.
        progress: Show progress on stderr.

    Raises:
        UserError: A place does not exist, or the index cannot be written.
    """
    started = time.monotonic()
    places = list(dict.fromkeys(map(named, places)))
    listings = [find_videos(place) for place in places]
    plans = [
        make_plan(place, listing.files, store.files(str(place)), listing.unreadable)
        for place, listing in zip(places, listings, strict=True)
    ]
    plans, moved = follow_moved(store, plans)
    changed = {str(file) for plan in plans for file in plan.changed}
    todo = list(dict.fromkeys(file for plan in plans for file in (*plan.new, *plan.changed)))
    dropped = _drop(store, plans)
    # In random order, so that processes that index the same places rarely read the same file.
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
            writing.commit()  # also when the user interrupts
    store.tidy()
    new = len(writing.finished - changed)
    return Added(
        new=new,
        changed=len(writing.finished & changed),
        unchanged=len({file for plan in plans for file in plan.unchanged}),
        dropped=dropped + writing.dropped,
        windows=writing.written,
        elsewhere=writing.elsewhere,
        moved=moved,
        unreadable={folder: why for listing in listings for folder, why in listing.unreadable.items()},
        passed=sum((Counter(listing.passed) for listing in listings), Counter()),
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
    """Generate full batches, and the last one whatever its size."""
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
    """Rows on their way into the store, kept until all rows of their file are complete."""

    def __init__(self, store: Store, model: SearchModel, places: Sequence[Path], changed: set[str]) -> None:
        self._store, self._model, self._places, self._changed = store, model, places, changed
        self._indexed: dict[str, list[FileState]] = {}  # by other processes, since this one started
        self._rows: dict[str, list[StoredWindow]] = {}
        self._expected: dict[str, int] = {}
        self._committed = time.monotonic()
        self._size = len(store)
        self.finished: set[str] = set()
        self.written = self.elsewhere = self.dropped = 0
        self.failed: dict[str, str] = {}
        self.warnings: dict[str, str] = {}

    def is_done(self, file: Path) -> bool:
        """Return whether another process has indexed a file since the plan was made."""
        return any(is_current(file, state) for state in self._indexed.get(str(file), ()))

    def end(self, end: FileEnd) -> str | None:
        """Record that a file has given all of its windows; return a message to show about it."""
        path = str(end.file)
        if path in self.failed:
            return None  # because of its features, which has been reported
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
        """Record that a file gives no rows, and drop those of an older content."""
        self._rows.pop(path, None)
        self._expected.pop(path, None)
        self.warnings.pop(path, None)
        if path in self._changed:
            self._store.drop([path])
            self.dropped += 1
            reason += "; it has changed, so its old rows are dropped"
        self.failed[path] = reason
        return reason

    def encode(self, batch: Sequence[ReadWindow]) -> list[tuple[Path, str]]:
        """Encode windows and commit from time to time. Returns files with unusable features, and why."""
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
                continue  # the file failed while this window was waiting
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
        """Write the files that are complete, and read what other processes have written."""
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
