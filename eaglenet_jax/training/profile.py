"""Trace of some training steps, for XProf or Perfetto."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import TracebackType

import jax

from eaglenet_jax.errors import UserError


@dataclasses.dataclass
class StepProfile:
    """Context manager that traces the steps first … last into a folder.

    Attributes:
        folder: Where the trace is written.
        first: First step, counted from 1; 0 traces nothing.
        last: Last step.
        running: Whether a trace is being recorded.
    """

    folder: Path
    first: int = 0
    last: int = 0
    running: bool = False

    @classmethod
    def of(cls, steps: str, folder: Path) -> StepProfile:
        """Parse a range of steps.

        Args:
            steps: "10:15", or "" for no trace.
            folder: Where the trace is written.

        Raises:
            UserError: `steps` is anything else.
        """
        if not steps:
            return cls(folder)
        first, _, last = steps.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise UserError(f"config.profile is {steps!r}; give the first and the last step to trace, as 10:15")
        return cls(folder, int(first), int(last))

    def before(self, step: int) -> None:
        """Start the trace if `step`, which is about to start, is the first."""
        if step == self.first:
            jax.profiler.start_trace(str(self.folder), create_perfetto_trace=True)
            self.running = True

    def after(self, step: int) -> None:
        """End the trace if `step`, whose results are on the host, is the last."""
        if self.running and step >= self.last:
            self._stop()

    def _stop(self) -> None:
        if self.running:
            self.running = False
            jax.profiler.stop_trace()

    def __enter__(self) -> StepProfile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
