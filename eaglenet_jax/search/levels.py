"""Meaning of scores as kept in an index: measured once, and again when the index has changed much."""

from __future__ import annotations

import dataclasses
import json

from eaglenet_jax.search.confidence import Calibration, Levels
from eaglenet_jax.search.lance import connect, reported, tables

TABLE = "levels"
CHANGED = 0.2  # share of the rows by which the index has to grow or shrink


def has_changed(rows: int, then: int) -> bool:
    """Return whether an index of so many rows has changed much since it had `then`."""
    return abs(rows - then) > CHANGED * then


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        calibration: The levels, and sentences that fit.
        rows: Number of rows of the index at that time.
        how: What the result depends on besides the index: the sentences and rules.
    """

    calibration: Calibration
    rows: int
    how: str

    def is_current(self, rows: int, how: str) -> bool:
        """Return whether it is still true of an index of so many rows. Where no file was there, nothing was measured.

        Args:
            rows: Number of rows now.
            how: What a measurement would depend on now.
        """
        is_measured = self.calibration.cosine is not None or not rows
        return is_measured and self.how == how and not has_changed(rows, self.rows)


def read_measured(uri: str) -> Measured | None:
    """Return what an index keeps; None for nothing that this version understands.

    Raises:
        UserError: The index cannot be read.
    """
    with reported(uri):
        connection = connect(uri)
        if TABLE not in tables(connection):
            return None
        try:
            rows = connection.open_table(TABLE).search().limit(1).to_arrow().to_pylist()
        except (ValueError, RuntimeError) as error:
            if "not found" not in str(error).lower():
                raise
            return None  # another process is writing the first ones, or was killed while it did
    try:
        kept = json.loads(rows[0]["measured"])
        levels = {name: None if kept[name] is None else Levels(**kept[name]) for name in ("cosine", "head")}
        return Measured(Calibration(**levels, examples=tuple(kept["examples"])), kept["rows"], kept["how"])
    except (LookupError, TypeError, ValueError):
        return None


def write_measured(uri: str, measured: Measured) -> None:
    """Replace what an index keeps.

    Raises:
        UserError: The index cannot be written, or another process does the same.
    """
    content = {**dataclasses.asdict(measured.calibration), "rows": measured.rows, "how": measured.how}
    with reported(uri):
        connection = connect(uri)
        mode = "overwrite" if TABLE in tables(connection) else "create"  # to overwrite nothing prints a warning
        connection.create_table(TABLE, data=[{"measured": json.dumps(content)}], mode=mode)
