"""What a person sees while a run trains: one live line on a terminal, one plain line an evaluation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class LiveLine:
    """Step, loss and its parts, R@1 on the selection split, clips/s and ETA.

    title: name of the run. total: steps. start: steps made before. clips: clips a step.
    """

    def __init__(self, title: str, total: int, start: int, clips: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._title, self._total, self._clips = title, total, clips
        self._recall = ""
        self._console = Console(highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.completed}/{task.total} {task.fields[numbers]} ETA", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            refresh_per_second=2,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, completed=start, numbers="")
        self._clock: tuple[float, int] | None = None  # the first step compiles, so the clock starts after it
        self._latest: Mapping[str, float] = {}

    def __enter__(self) -> LiveLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def clips_per_second(self, step: int) -> float:
        """Since the first step of this process; 0 until there is a second."""
        if self._clock is None or step <= self._clock[1]:
            return 0.0
        return (step - self._clock[1]) * self._clips / (time.monotonic() - self._clock[0])

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """After step number `step` (from 1), with its metrics."""
        if self._clock is None:
            self._clock = (time.monotonic(), step)
        self._latest = {name: float(value) for name, value in metrics.items() if name != "gradient_norm"}
        shown = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in self._latest.items())
        numbers = f"{shown}{self._recall} {self.clips_per_second(step):.0f} clips/s"
        self._progress.update(self._task, completed=step, numbers=numbers)

    def evaluated(self, step: int, split: str, recall: float) -> None:
        """After an evaluation: t2v R@1 on a split, in percent."""
        self._recall = f" {split} R@1 {recall:.1f}"
        if not self._console.is_terminal:
            loss = self._latest.get("loss", float("nan"))
            rate = self.clips_per_second(step)
            left = (self._total - step) * self._clips / rate if rate else 0
            self.say(
                f"{self._title} step {step}/{self._total} loss {loss:.3f}{self._recall} "
                f"{rate:.0f} clips/s ETA {left:.0f} s"
            )

    def say(self, message: str) -> None:
        """One line above the live one."""
        self._console.print(message, soft_wrap=True)
