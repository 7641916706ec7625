"""Numbers of a run on disk: TensorBoard event files and the same as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class EventLog:
    """Writes `folder/events…` (TensorBoard) and `folder/log.jsonl`. A run that goes on appends to both."""

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        # Steps that a killed run logged after its last checkpoint are made again: TensorBoard forgets the first
        # telling.
        self._writer = SummaryWriter(str(folder), purge_step=start if start else None)
        self._lines = (folder / "log.jsonl").open("a")

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
