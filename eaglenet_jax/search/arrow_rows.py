"""Conversion between rows of the index and Arrow tables, and quoting of SQL strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from eaglenet_jax.search.rows import StoredWindow, StoreSettings


def as_table(windows: Sequence[StoredWindow], settings: StoreSettings, previews: bool) -> pa.Table:
    """Return complete rows as a table of the index's schema, with or without previews."""
    import pyarrow as pa

    def vectors(values: Iterable[Any], dtype: Any, width: int) -> pa.Array:
        flat = np.ascontiguousarray(np.stack([np.asarray(value, dtype).reshape(-1) for value in values]))
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)

    columns: dict[str, Any] = {
        name: [getattr(window, name) for window in windows] for name in ("id", "path", "start", "end", "thumbnail")
    }
    columns["pooled"] = vectors((window.pooled for window in windows), np.float32, settings.width)
    columns["frames"] = vectors((w.frames for w in windows), np.float16, settings.frames * settings.width)
    columns["times"] = [list(window.times) for window in windows]
    for name in ("hash", "size", "time"):
        columns[f"file_{name}"] = [getattr(window.file, name) for window in windows]
    if previews:
        columns["previews"] = [list(window.previews) for window in windows]
    return pa.table(columns, schema=settings.schema(previews))


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Generate rows as dicts, with "frames" as arrays, since converting them to Python numbers would be slow."""
    frames = table.column("frames").combine_chunks() if "frames" in table.column_names else None
    plain = table.drop_columns(["frames"]) if frames is not None else table
    values = None if frames is None or not len(frames) else frames.flatten().to_numpy().reshape(len(frames), -1)
    for number, row in enumerate(plain.to_pylist()):
        yield row if values is None else {**row, "frames": values[number]}


def quoted(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
