"""Indexing of files: read, encode in batches, commit whole files from time to time, share them with other processes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eaglenet_jax.scoring.host import to_host
from eaglenet_jax.search.claims import Claims
from eaglenet_jax.search.model import SearchModel, mean_of_frames
from eaglenet_jax.search.reading import FileEnd, ReadWindow, read_files, readers
from eaglenet_jax.search.rows import StoredWindow
from eaglenet_jax.search.store import Store

BATCH = 8  # windows that are encoded at a time
COMMIT_SECONDS = 20.0
COMMIT_WINDOWS = 2000
NOT_FINITE = "the model's features of it are not finite, or too large for the index (65504)"


@dataclasses.dataclass(frozen=True)
class ToDo:
    """Files to index.

    Attributes:
        files: New and changed files.
        changed: Paths of the changed ones, whose old rows are dropped.
        sharers: Number of processes that are known to share them.
    """

    files: Sequence[Path]
    changed: frozenset[str] = frozenset()
    sharers: int = 1


@dataclasses.dataclass
class Tally:
    """Outcome of the files that are to be indexed.

    Attributes:
        finished: Paths of files that this process, or one that it started, indexed.
        elsewhere: Paths of files that another process indexed; one that this process started can be among them.
        dropped: Number of changed files that cannot be read, whose old rows were deleted.
        windows: Rows that were written.
        failed: By path, why a file could not be read.
        warnings: By path, what is wrong with a file that was indexed nevertheless.
    """

    finished: set[str] = dataclasses.field(default_factory=set)
    elsewhere: set[str] = dataclasses.field(default_factory=set)
    dropped: int = 0
    windows: int = 0
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in what has happened since."""
        self.finished |= other.finished
        self.elsewhere |= other.elsewhere
        self.dropped += other.dropped
        self.windows += other.windows
        self.failed |= other.failed
        self.warnings |= other.warnings


class Report(Protocol):
    """Receiver of events while files are indexed."""

    def reached(self, file: Path, share: float, seconds: float) -> None:
        """Take in that a window is encoded: part of the file that is done, from 0 to 1, and new seconds of video."""

    def finished(self, file: Path, trouble: str | None) -> None:
        """Take in that a file is read, and what was wrong with it, if anything."""

    def trouble(self, file: Path, what: str) -> None:
        """Take in that something is wrong with a file."""

    def settled(self, tally: Tally) -> None:
        """Take in that files are indexed or given up."""

    def say(self, line: str) -> None:
        """Take in a line for the user about something else."""


def index_files(store: Store, model: SearchModel, todo: ToDo, report: Report) -> None:
    """Index files, together with other processes that do the same: each takes those that no living process has.

    It returns when all of them are indexed or given up, whoever did it.

    Args:
        store: The index.
        model: Its model.
        todo: The files.
        report: Receives what happens; several calls of `settled` add up.

    Raises:
        UserError: The index cannot be written.
    """
    at_once = min(readers(), len(todo.files))
    with Claims(store, todo.files, at_once, todo.sharers) as claims:
        writing = _Writing(store, model, todo.changed, claims, report)
        waited = False
        while True:
            stream = read_files(claims.next, model, store.settings.rule, ahead=2 * BATCH, readers=at_once)
            encoded = 0
            try:
                for batch in _batches(stream, writing):
                    writing.encode(batch)
                    encoded += len(batch)
            finally:
                stream.close()
                writing.commit()  # also when the user interrupts
            if claims.finished:
                return
            if not encoded:
                if not waited and claims.left:
                    report.say(f"waiting for {claims.left} files that other processes have")
                    waited = True
                claims.wait()


def _batches(stream: Iterator[ReadWindow | FileEnd], writing: _Writing) -> Iterator[list[ReadWindow]]:
    """Generate full batches, and the last one whatever its size."""
    batch: list[ReadWindow] = []
    for result in stream:
        if isinstance(result, FileEnd):
            writing.end(result)
            continue
        batch.append(result)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _can_be_opened(file: Path) -> bool:
    """Return whether a file is there and can be read, so that its content was at fault and not its disk."""
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError:
        return False
    return True


class _Writing:
    """Rows on their way into the store, kept until all rows of their file are complete."""

    def __init__(
        self, store: Store, model: SearchModel, changed: Collection[str], claims: Claims, report: Report
    ) -> None:
        self._store, self._model, self._changed = store, model, changed
        self._claims, self._report = claims, report
        self._rows: dict[str, list[StoredWindow]] = {}
        self._expected: dict[str, int] = {}
        self._warnings: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._committed = time.monotonic()

    def end(self, end: FileEnd) -> None:
        """Record that a file has given all of its windows."""
        path = str(end.file)
        if path in self._failed:
            self._report.finished(end.file, None)  # because of its features, which has been reported
        elif end.reason is not None or not end.windows:
            self._report.finished(end.file, self._fail(path, end.reason or "it has no picture"))
        else:
            self._expected[path] = end.windows
            if end.warning:
                self._warnings[path] = end.warning
            self._report.finished(end.file, end.warning)

    def _fail(self, path: str, reason: str) -> str:
        """Record that a file gives no rows, and drop those of an older content."""
        self._rows.pop(path, None)
        self._expected.pop(path, None)
        self._warnings.pop(path, None)
        dropped = path in self._changed and _can_be_opened(Path(path))
        if dropped:
            self._store.drop([path])
            reason += "; it has changed, so its old rows are dropped"
        self._failed[path] = reason
        self._claims.give_up(path, reason)
        self._report.settled(Tally(failed={path: reason}, dropped=int(dropped)))
        return reason

    def encode(self, batch: Sequence[ReadWindow]) -> None:
        """Encode windows and commit from time to time."""
        rows = [*batch, *[batch[-1]] * (BATCH - len(batch))]  # one size, one compiled program
        features = to_host(
            self._model.encode_windows(np.stack([read.frames for read in rows]), [read.count for read in rows])
        )
        pooled = mean_of_frames(features.frames, features.mask)
        with np.errstate(over="ignore"):
            stored = features.frames.astype(np.float16)
        for number, read in enumerate(batch):
            if read.window.path in self._failed:
                continue  # the file failed while this window was waiting
            if not (np.isfinite(stored[number]).all() and np.isfinite(pooled[number]).all()):
                self._report.trouble(read.file, self._fail(read.window.path, NOT_FINITE))
                continue
            vectors: dict[str, Any] = {"pooled": pooled[number], "frames": stored[number]}
            self._rows.setdefault(read.window.path, []).append(dataclasses.replace(read.window, **vectors))
            self._report.reached(read.file, read.share, read.seconds)
        waiting = sum(map(len, self._rows.values()))
        if waiting >= COMMIT_WINDOWS or time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Write the files that are complete and release them; report what others have done."""
        complete = [path for path, count in self._expected.items() if len(self._rows.get(path, ())) == count]
        rows = [row for path in complete for row in self._rows.pop(path)]
        self._store.add(rows)
        old = [path for path in complete if path in self._changed]
        self._store.drop(old, keep={row.path: row.file.hash for row in rows if row.file is not None})
        warnings = {path: self._warnings.pop(path) for path in complete if path in self._warnings}
        for path in complete:
            del self._expected[path]
        self._claims.done(complete)
        elsewhere, given_up = self._claims.news()
        failed = {str(file): reason for file, reason in given_up.items()}
        self._report.settled(Tally(set(complete), set(map(str, elsewhere)), 0, len(rows), failed, warnings))
        for file in elsewhere:
            self._report.finished(file, None)
        for file, reason in given_up.items():
            self._report.finished(file, reason)
        self._committed = time.monotonic()
