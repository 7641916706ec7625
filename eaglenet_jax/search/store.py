"""Storage of the index on disk or in an object store: one LanceDB table, a row a window."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.search.arrow_rows import as_table, quoted, rows_of
from eaglenet_jax.search.lance import connect, opened, opened_or_created, reason, reported
from eaglenet_jax.search.rows import PREVIEWS, TABLE, FileState, StoredWindow, StoreSettings, read_settings

# Up to this size every query compares all pooled vectors, which is exact; above, it uses a LanceDB vector index.
EXACT_ROWS = 200_000
ROWS_A_PARTITION = 1000
KMEANS_ROUNDS = 15  # more made no measurable difference
PARTITIONS_PROBED = 50
# Candidates that are compared again by their full vectors: at least so many, and at least so many times the limit.
REFINED_ROWS, REFINED = 1000, 10
PIECES, UNINDEXED_ROWS = 64, 50_000  # more of either triggers compaction
KEPT_FOR = timedelta(hours=1)  # of replaced data, for processes that are still reading it
DESCRIBED = ("id", "path", "start", "end", "times", "thumbnail")
FILE = ("file_hash", "file_size", "file_time")


class Store:
    """An opened index. Every read includes what other processes have committed before it."""

    def __init__(self, uri: str, table: Any, settings: StoreSettings) -> None:
        self.uri, self.settings = uri, settings
        self._table = table
        self._previews = PREVIEWS in table.schema.names

    @classmethod
    def open_existing(cls, uri: str) -> Store | None:
        """Open the index at `uri`; return None if there is none.

        Raises:
            UserError: The index has another format, or a file is in its place.
        """
        if "://" not in uri and not Path(uri).is_dir():
            if Path(uri).exists():
                raise UserError(f"{uri} is a file; give the folder of an index as --index, or one that is to be made")
            return None  # connecting would create the folder
        with reported(uri):
            table = opened(connect(uri), TABLE)
        return None if table is None else cls(uri, table, read_settings(uri, table.schema))

    @classmethod
    def open(cls, uri: str) -> Store:
        """Open the index at `uri`.

        Raises:
            UserError: There is none, or it has another format.
        """
        store = cls.open_existing(uri)
        if store is None:
            raise UserError(
                f"there is no index at {uri}; make one with python -m eaglenet_jax.search index VIDEOS --index={uri}"
                f"{near_path(Path(uri), folders=True)}"
            )
        return store

    @classmethod
    def open_or_create(cls, uri: str, settings: StoreSettings) -> Store:
        """Open the index at `uri`, or create it if there is none.

        Raises:
            UserError: The existing index has another model or other windows.
        """
        with reported(uri):
            opened_or_created(connect(uri), TABLE, settings.schema())
        store = cls.open(uri)
        if store.settings.model_id != settings.model_id:
            raise UserError(
                f"{uri} was made with the model {store.settings.model_id} ({store.settings.checkpoint}), this one is "
                f"{settings.model_id} ({settings.checkpoint}); give that checkpoint, or another --index"
            )
        if store.settings.rule != settings.rule:
            raise UserError(f"{uri} was made with {store.settings.rule}, asked for is {settings.rule}; give the same")
        return store

    def __len__(self) -> int:
        with reported(self.uri):
            return self._table.count_rows()

    @property
    def size(self) -> int:
        """Bytes of all rows, without replaced ones that are not yet deleted."""
        with reported(self.uri):
            return self._table.stats()["total_bytes"]

    def files(self, folder: str) -> dict[str, list[FileState]]:
        """Return the states of the indexed files in a folder, or of one file, by path.

        A file has several states if it changed and the process that replaced its rows was killed.
        """
        return self._states(f"path = {quoted(folder)} OR starts_with(path, {quoted(folder.rstrip('/') + '/')})")

    def states(self, paths: Collection[str]) -> dict[str, list[FileState]]:
        """Return the states of those of the files that are indexed, as `files`."""
        return self._states(f"path IN ({', '.join(map(quoted, paths))})") if paths else {}

    def _states(self, where: str) -> dict[str, list[FileState]]:
        names = ("path", *FILE)
        with reported(self.uri):
            rows = self._table.search().where(where).select(list(names)).limit(None).to_arrow()
        states: dict[str, list[FileState]] = {}
        for row in rows.group_by(list(names)).aggregate([]).to_pylist():
            states.setdefault(row["path"], []).append(_file_state(row))
        return states

    def add(self, windows: Sequence[StoredWindow]) -> None:
        """Commit rows, all or none of them. A row whose id exists already is left unchanged."""
        if not windows:
            return
        with reported(self.uri):
            rows = as_table(windows, self.settings, self._previews)
            self._table.merge_insert("id").when_not_matched_insert_all().execute(rows)

    def drop(self, paths: Iterable[str], keep: Mapping[str, str] | None = None) -> None:
        """Delete the rows of files.

        Args:
            paths: The files.
            keep: By path, the content hash whose rows are kept.
        """
        keep = keep or {}
        conditions = [
            f"(path = {quoted(path)}" + (f" AND file_hash != {quoted(keep[path])})" if path in keep else ")")
            for path in paths
        ]
        with reported(self.uri):
            for start in range(0, len(conditions), 500):
                self._table.delete(" OR ".join(conditions[start : start + 500]))

    def touch(self, states: Mapping[str, FileState]) -> None:
        """Set the modification times of files whose content is indexed already.

        Args:
            states: Present states, by path.
        """
        import pyarrow as pa

        paths = list(states)
        schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("file_time", pa.int64())])
        for start in range(0, len(paths), 500):
            where = f"path IN ({', '.join(map(quoted, paths[start : start + 500]))})"
            with reported(self.uri):
                rows = self._table.search().where(where).select(["id", "path", "file_hash"]).limit(None).to_arrow()
                times = [
                    {"id": row["id"], "file_time": states[row["path"]].time}
                    for row in rows.to_pylist()
                    if row["file_hash"] == states[row["path"]].hash
                ]
                new = pa.Table.from_pylist(times, schema=schema)
                try:
                    self._table.merge_insert("id").when_matched_update_all().execute(new)
                except (OSError, RuntimeError, ValueError) as error:
                    if "conflict" not in str(error).lower():  # with another process; the next call does it
                        raise

    def nearest(
        self, vector: np.ndarray, limit: int, frames: bool = False, where: str | None = None
    ) -> list[StoredWindow]:
        """Return the windows whose pooled vectors have the highest cosine with `vector`, best first, ties by id.

        Args:
            vector: [d].
            limit: Most windows.
            frames: Also read their frame features.
            where: SQL condition on the columns that the windows have to meet.
        """
        names = [*DESCRIBED, *(("frames",) if frames else ()), "_distance"]
        with reported(self.uri):
            query = self._table.search(np.asarray(vector, np.float32), vector_column_name="pooled")
            refined = max(REFINED, math.ceil(REFINED_ROWS / limit))
            query = query.distance_type("cosine").nprobes(PARTITIONS_PROBED).refine_factor(refined)
            if where is not None:
                query = query.where(where, prefilter=True)
            rows = query.select(names).limit(limit).to_arrow()
        found = [self._window(row) for row in rows_of(rows)]
        return sorted(found, key=lambda window: (-window.score, window.id))

    def window(self, identifier: str, previews: bool = False) -> StoredWindow | None:
        """Return the row of an id, with the state of its file and, if asked for and stored, its previews; or None."""
        names = [*DESCRIBED, *FILE, *([PREVIEWS] if previews and self._previews else [])]
        with reported(self.uri):
            rows = self._table.search().where(f"id = {quoted(identifier)}").select(names).limit(1).to_arrow()
        return next((self._window(row) for row in rows_of(rows)), None)

    def vector(self, identifier: str) -> np.ndarray | None:
        """Return the pooled vector [d] of an id, or None."""
        with reported(self.uri):
            rows = self._table.search().where(f"id = {quoted(identifier)}").select(["pooled"]).limit(1).to_arrow()
        return np.asarray(rows["pooled"][0].as_py(), np.float32) if len(rows) else None

    def videos(self) -> list[dict[str, Any]]:
        """Return a dict for each file: path, id (of one of its windows), end (seconds), file_time, windows (number)."""
        with reported(self.uri):
            rows = self._table.search().select(["path", "id", "end", "file_time"]).limit(None).to_arrow()
        wanted = [("id", "min"), ("end", "max"), ("file_time", "max"), ("id", "count")]
        names = ["path", "id", "end", "file_time", "windows"]
        return rows.group_by("path").aggregate(wanted).rename_columns(names).to_pylist()

    @property
    def version(self) -> int:
        """Number of the last commit: what is computed from all rows is valid while it stays."""
        with reported(self.uri):
            return self._table.version

    @property
    def written(self) -> datetime:
        """Time of the last commit."""
        with reported(self.uri):
            return self._table.list_versions()[-1]["timestamp"]

    def rows(self, path: str) -> list[StoredWindow]:
        """Return all rows of a file, complete."""
        with reported(self.uri):
            rows = self._table.search().where(f"path = {quoted(path)}").limit(None).to_arrow()
        return [dataclasses.replace(self._window(row), pooled=np.asarray(row["pooled"])) for row in rows_of(rows)]

    def tidy(self, exact_rows: int = EXACT_ROWS) -> None:
        """Create the vector index of a large table, and compact a fragmented one.

        Compaction rewrites the data, so it runs only if many commits have left many fragments, or many rows are not in
        the vector index. If another process is doing the same, this one leaves it to that one. Any other error is
        printed as a warning, since the rows are intact.

        Args:
            exact_rows: Most rows of a table without vector index.
        """
        try:
            self._tidy(exact_rows)
        except (RuntimeError, OSError, ValueError) as error:
            if "conflict" not in str(error).lower():
                print(f"warning: {self.uri} was not tidied, queries may be slow: {reason(error)}", file=sys.stderr)

    def _tidy(self, exact_rows: int) -> None:
        from lancedb.index import IvfRq

        indices = self._table.list_indices()
        pieces = self._table.stats()["fragment_stats"]["num_small_fragments"]
        new = [self._table.index_stats(index.name).num_unindexed_rows for index in indices]
        if pieces > PIECES or any(rows > UNINDEXED_ROWS for rows in new):
            self._table.optimize(cleanup_older_than=KEPT_FOR)
        rows = self._table.count_rows()
        if rows > exact_rows and not self._table.list_indices():
            # RaBitQ stores a bit a dimension and needs no training of codes, which took ten times as long as the rest
            # with product quantisation. The full vectors of more rows than requested then decide.
            config = IvfRq(
                distance_type="cosine", num_partitions=max(1, rows // ROWS_A_PARTITION), max_iterations=KMEANS_ROUNDS
            )
            self._table.create_index("pooled", config=config)

    def _window(self, row: dict[str, Any]) -> StoredWindow:
        frames = row.get("frames")
        return StoredWindow(
            **{name: row[name] for name in ("id", "path", "start", "end", "thumbnail")},
            times=tuple(row["times"]),
            previews=tuple(row.get(PREVIEWS) or ()),
            frames=None if frames is None else frames.reshape(self.settings.frames, self.settings.width),
            file=_file_state(row) if FILE[0] in row else None,
            score=1.0 - row.get("_distance", 1.0),
        )


def _file_state(row: Mapping[str, Any]) -> FileState:
    return FileState(*(row[name] for name in FILE))
