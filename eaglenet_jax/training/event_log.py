"""Numbers of a run on disk: TensorBoard event files and the same as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


def _whole_lines(file: Path) -> list[str]:
    """Lines that were written to their end; a killed process may leave a torn one."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.startswith("{") and line.endswith("}\n")]


class EventLog:
    """Writes `folder/events…` (TensorBoard) and `folder/log.jsonl`. A run that goes on appends to both."""

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        # Steps that a killed run logged after its last checkpoint are made again: their first telling goes.
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)
        file = folder / "log.jsonl"
        kept = [line for line in _whole_lines(file) if json.loads(line)["step"] <= start]
        file.write_text("".join(kept))
        self._lines = file.open("a")

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._lines.close()

    def scalars(self, step: int, group: str, values: Mapping[str, Any]) -> None:
        """Values of one step, as group/name."""
        numbers = {f"{group}/{name}": float(value) for name, value in values.items()}
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)
        self._lines.write(json.dumps({"step": step, **numbers}) + "\n")
        self._lines.flush()
