"""Log of a run's numbers: TensorBoard event files, and the same as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


def _whole_lines(file: Path) -> list[str]:
    """Read the complete lines of a file; a killed process may leave a partial one."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.startswith("{") and line.endswith("}\n")]


class EventLog:
    """Writer of `folder/events…` (TensorBoard) and `folder/log.jsonl`. A resumed run appends to both.

    Args:
        folder: None to write nothing.
        start: Steps made before.
    """

    def __init__(self, folder: Path | None, start: int) -> None:
        self._writer: Any = None
        self._lines: Any = None
        if folder is None:
            return
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        # Steps that a killed run logged after its last checkpoint are made again, so their first entries are removed.
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)
        file = folder / "log.jsonl"
        kept = [line for line in _whole_lines(file) if json.loads(line)["step"] <= start]
        rewritten = file.with_suffix(".tmp")
        rewritten.write_text("".join(kept))
        os.replace(rewritten, file)  # never half a file
        self._lines = file.open("a")

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
            self._lines.close()

    def scalars(self, step: int, group: str, values: Mapping[str, Any]) -> None:
        """Write values of one step, as group/name."""
        if self._writer is None:
            return
        numbers = {f"{group}/{name}": float(value) for name, value in values.items()}
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)
        self._lines.write(json.dumps({"step": step, **numbers}) + "\n")
        self._lines.flush()
