"""Division of files among processes, on one machine or several: each takes some at a time; a dead one loses its own."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.claim_table import Claim, ClaimTable
from eaglenet_jax.search.files import current_state, size_of
from eaglenet_jax.search.process_locks import ProcessLock, has_ended
from eaglenet_jax.search.store import Store

LEASE_SECONDS = 120.0  # without a sign of life, after which the files of a process are free
POLL_SECONDS = 2.0  # between two looks for files that others may have left
TURN_SECONDS = 20.0  # of work that is taken at a time, by the speed so far
FIRST_BYTES = 64 * 1024 * 1024  # that are taken at a time before the speed is known
MOST_FILES = 512  # that are taken at a time
MOST_DEATHS = 3
WAITING = "waiting:"  # before the id of a process, in place of a file's path
ENDED = ""  # in place of the id of a process that has ended, on files that it gave up


class Claims:
    """The files that a process is to index, of which it takes those that no living process has. A context manager.

    A process shows that it lives by a lock on a file of its machine, which the system releases when it ends, and by a
    number that it increases in the table: other machines count it as dead where that number has stood still for
    `LEASE_SECONDS` by their own clocks. Rows have the same ids whoever writes them, so a process that is counted as
    dead and is not does no harm.

    Files whose process died come after all others: as many as are read at once, or alone if it was not their first.
    After `MOST_DEATHS` a file is given up: reading it may be what ends processes.

    Files that were given up stay in the table when their process ends, until the last process that shares the files
    ends: the others do not try them again, the next call does.

    Args:
        store: The index.
        files: What is to be indexed.
        least: Files to take at a time where there are enough, as many as are read at once.
        sharers: Number of processes that are known to share the files.
    """

    def __init__(self, store: Store, files: Iterable[Path], least: int, sharers: int = 1) -> None:
        self._store, self._least, self._sharers = store, least, sharers
        self._table = ClaimTable(store.uri)
        self.worker = uuid.uuid4().hex
        self._alive = ProcessLock(self.worker)
        self._left = {str(file): file for file in files}
        self._ready: deque[Path] = deque()
        self._held: set[str] = set()  # given out, not yet released
        self._seen: dict[str, tuple[int, float]] = {}  # by worker: its number, and since when it stands
        self._ended: set[str] = set()  # workers of this machine that have ended
        self._number = 0
        self._bytes, self._started = 0, time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._elsewhere: list[Path] = []
        self._given_up: dict[Path, str] = {}
        self._gave_up = False  # whether this process did, of any file
        self._waiting = False  # whether this process is in the table as one that waits

    def __enter__(self) -> Claims:
        self._alive.hold()
        self._beating.start()
        self._forget_given_up()  # what processes left that were killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beating.join()
        with contextlib.suppress(UserError):  # others will find that this process has ended
            if self._gave_up:
                self._table.leave(self.worker, ENDED)
            self._table.delete(self.worker)
            self._forget_given_up()
            self._table.tidy()
        self._alive.release()

    @property
    def finished(self) -> bool:
        """Whether every file is indexed or given up, by this process or another."""
        with self._lock:
            return not (self._left or self._ready or self._held)

    @property
    def left(self) -> int:
        """Number of files that this process has not taken."""
        return len(self._left)

    def next(self) -> Path | None:
        """Return a file that is now this process's, None if none is free at the moment. For several threads."""
        with self._lock:
            if not self._ready:
                self._take()
            if not self._ready:
                return None
            file = self._ready.popleft()
            self._held.add(str(file))
            return file

    def done(self, paths: Collection[str]) -> None:
        """Release files whose rows are committed."""
        with self._lock:
            self._held -= set(paths)
            self._bytes += sum(size_of(Path(path)) for path in paths)
        self._table.delete(self.worker, paths)

    def give_up(self, path: str, reason: str) -> None:
        """Record that a file cannot be indexed, so that others do not try while this process runs."""
        with self._lock:
            self._held.discard(path)
            self._gave_up = True
        self._table.settle(self.worker, path, reason)

    def news(self) -> tuple[list[Path], dict[Path, str]]:
        """Return what has become known since the last call.

        Returns:
            Files that other processes have indexed, and files that are given up with the reason.
        """
        with self._lock:
            found = self._elsewhere, self._given_up
            self._elsewhere, self._given_up = [], {}
            return found

    def wait(self) -> None:
        """Wait until files that others had may be free."""
        if not self._waiting:  # a process that has no file is not in the table otherwise
            self._table.insert([Claim(f"{WAITING}{self.worker}", self.worker, self._number)])
            self._waiting = True
        time.sleep(POLL_SECONDS)

    def _forget_given_up(self) -> None:
        """Delete what ended processes gave up, if no other process is there."""
        with contextlib.suppress(UserError):  # of the store; the next call does it
            others = [claim for claim in self._table.all() if claim.worker != self.worker]
            if not all(claim.worker == ENDED or self._is_dead(claim) for claim in others):
                return
            if any(claim.worker == ENDED for claim in others):
                self._table.delete(ENDED)
            for claim in others:
                if claim.path.startswith(WAITING):
                    self._table.delete(claim.worker, [claim.path])

    def _take(self) -> None:
        """Take some files that are free; leave out those that others have indexed or given up."""
        while self._left and not self._ready:
            claims = {claim.path: claim for claim in self._table.all() if claim.worker != self.worker}
            others = [claims[path] for path in self._left if path in claims]
            dead = [claim for claim in others if self._is_dead(claim)]
            for claim in others:
                if claim.reason and claim not in dead:
                    self._given_up[self._left.pop(claim.path)] = claim.reason
            free = [path for path in self._left if path not in claims]
            first, again = ([claim for claim in dead if bool(claim.deaths) == later] for later in (False, True))
            if free:
                self._claim([Claim(path, self.worker, self._number) for path in self._turn(free)])
            elif first:
                self._take_over(first[: self._least])
            elif again and not self._held:
                self._take_over(again[:1])
            else:
                return

    def _turn(self, free: Sequence[str]) -> list[str]:
        """Return the first of the free files, work for `TURN_SECONDS`."""
        speed = self._bytes / max(1.0, time.monotonic() - self._started)
        most = min(MOST_FILES, math.ceil(len(free) / (2 * self._sharers)) if self._sharers > 1 else len(free))
        taken: list[str] = []
        room = max(FIRST_BYTES, speed * TURN_SECONDS)
        for path in free[:most]:
            room -= size_of(self._left[path])
            if room < 0 and len(taken) >= self._least:
                break
            taken.append(path)
        return taken

    def _claim(self, claims: Sequence[Claim]) -> None:
        """Claim files. Those that are indexed are left out; those for which another was faster stay where they are."""
        version = self._store.version
        self._leave_out(self._indexed([claim.path for claim in claims]))
        wanted = [claim for claim in claims if claim.path in self._left]
        self._table.insert(wanted)
        paths = {claim.path for claim in wanted}
        mine = {claim.path for claim in self._table.all() if claim.worker == self.worker and claim.path in paths}
        if self._store.version != version:  # another may have written a file and released it in between
            written = self._indexed(mine)
            self._leave_out(written)
            self._table.delete(self.worker, written)
            mine -= written
        self._ready.extend(self._left.pop(claim.path) for claim in wanted if claim.path in mine)

    def _take_over(self, claims: Sequence[Claim]) -> None:
        """Claim files of dead processes."""
        for claim in claims:
            self._table.delete(claim.worker, [claim.path], claim.beat)
        again = [
            dataclasses.replace(c, worker=self.worker, beat=self._number, deaths=c.deaths + 1, reason="")
            for c in claims
        ]
        for claim in [claim for claim in again if claim.deaths >= MOST_DEATHS]:
            reason = f"{claim.deaths} processes ended unexpectedly while they read it, which may be the file's doing"
            self._table.insert([dataclasses.replace(claim, reason=reason)])
            self._gave_up = True
            self._given_up[self._left.pop(claim.path)] = reason
        self._claim([claim for claim in again if claim.deaths < MOST_DEATHS])

    def _indexed(self, paths: Collection[str]) -> set[str]:
        states = self._store.states(paths)
        return {path for path, several in states.items() if current_state(Path(path), several) is not None}

    def _leave_out(self, paths: Iterable[str]) -> None:
        self._elsewhere += [self._left.pop(path) for path in paths]

    def _is_dead(self, claim: Claim) -> bool:
        if claim.worker == ENDED:
            return False
        now = time.monotonic()
        number, since = self._seen.get(claim.worker, (None, now))
        if number is None or claim.beat > number:  # the claims of one process can bear different numbers
            since = now
            self._seen[claim.worker] = claim.beat, since
        if claim.worker not in self._ended and has_ended(claim.worker):
            self._ended.add(claim.worker)
        return claim.worker in self._ended or now - since >= LEASE_SECONDS

    def _beat(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / 4):
            self._number += 1
            with contextlib.suppress(UserError):  # of the store; the next time may be better
                self._table.beat(self.worker, self._number)
