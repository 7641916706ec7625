"""Table of claims next to the rows of an index: which process indexes which file at this moment."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

from eaglenet_jax.search.arrow_rows import quoted
from eaglenet_jax.search.lance import connect, opened_or_created, reported

TABLE = "claims"
KEPT_FOR = timedelta(minutes=10)  # of replaced versions, for processes that are still reading them
COMMITS_BETWEEN_TIDYING = 200
TRIES = 10  # of a commit that conflicts with another's, besides those of LanceDB itself


@dataclasses.dataclass(frozen=True)
class Claim:
    """A file that a process indexes.

    Attributes:
        path: The file.
        worker: Id of the process.
        beat: Number that the process increases from time to time, the same in all of its claims.
        deaths: Number of processes that ended unexpectedly while they had the file.
        reason: Why the file cannot be indexed; empty while that is not known.
    """

    path: str
    worker: str
    beat: int = 0
    deaths: int = 0
    reason: str = ""


class ClaimTable:
    """The claims of an index. Of two processes that claim the same file at once, one succeeds.

    Args:
        uri: The index.
    """

    def __init__(self, uri: str) -> None:
        import pyarrow as pa

        self._uri = uri
        key = {"lance-schema:unenforced-primary-key": "true"}  # two writers of one key are detected
        self._schema = pa.schema(
            [
                pa.field("path", pa.string(), nullable=False, metadata=key),
                pa.field("worker", pa.string()),
                pa.field("beat", pa.int64()),
                pa.field("deaths", pa.int64()),
                pa.field("reason", pa.string()),
            ]
        )
        with reported(uri):
            self._table = opened_or_created(connect(uri), TABLE, self._schema)
        self._commits = 0

    def all(self) -> list[Claim]:
        """Return all claims."""
        with reported(self._uri):
            return [Claim(**row) for row in self._table.search().limit(None).to_arrow().to_pylist()]

    def insert(self, claims: Sequence[Claim]) -> None:
        """Add claims, but none on a file that has one already."""
        import pyarrow as pa

        if claims:
            rows = pa.Table.from_pylist([dataclasses.asdict(claim) for claim in claims], schema=self._schema)
            self._commit(lambda: self._table.merge_insert("path").when_not_matched_insert_all().execute(rows))

    def delete(self, worker: str, paths: Collection[str] | None = None, beat: int | None = None) -> None:
        """Delete claims of a process.

        Args:
            worker: Its id.
            paths: The files, None for all.
            beat: Only if this is still the number of the claims.
        """
        if paths is not None and not paths:
            return
        conditions = [f"worker = {quoted(worker)}"]
        conditions += [] if paths is None else [f"path IN ({', '.join(map(quoted, paths))})"]
        conditions += [] if beat is None else [f"beat = {beat}"]
        self._commit(lambda: self._table.delete(" AND ".join(conditions)))

    def beat(self, worker: str, number: int) -> None:
        """Set the number of all claims of a process."""
        where = f"worker = {quoted(worker)}"
        self._commit(lambda: self._table.update(where=where, values={"beat": number}))

    def settle(self, worker: str, path: str, reason: str) -> None:
        """Record why a file of a process cannot be indexed."""
        where = f"worker = {quoted(worker)} AND path = {quoted(path)}"
        self._commit(lambda: self._table.update(where=where, values={"reason": reason}))

    def leave(self, worker: str, to: str) -> None:
        """Give the files of a process that cannot be indexed to another id."""
        where = f"worker = {quoted(worker)} AND reason != ''"
        self._commit(lambda: self._table.update(where=where, values={"worker": to}))

    def tidy(self) -> None:
        """Delete old versions; what another process does at the same time is left to it."""
        with contextlib.suppress(RuntimeError, OSError, ValueError):
            self._table.optimize(cleanup_older_than=KEPT_FOR)

    def _commit(self, change: Callable[[], Any]) -> None:
        with reported(self._uri):
            for left in reversed(range(TRIES)):
                try:
                    change()
                    break
                except (RuntimeError, OSError, ValueError) as error:
                    if not left or "conflict" not in str(error).lower():
                        raise
                    time.sleep(random.uniform(0.05, 0.5))
        self._commits += 1
        if self._commits % COMMITS_BETWEEN_TIDYING == 0:
            self.tidy()
