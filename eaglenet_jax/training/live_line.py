"""Progress of a training run: one live line on a terminal, one plain line an evaluation elsewhere."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax

from eaglenet_jax.progress import TimedLines
from eaglenet_jax.wording import spoken_time

TIMED_STEPS = 5  # steps after the first one that are timed before the rest is estimated


class LiveLine:
    """Step, loss and its parts, R@1 on the selection split, clips/s, share of time spent waiting for data, memory, ETA.

    title: name of the run. total: steps. start: steps made before. clips: clips a step. shown: False for every process
    but the first.
    """

    def __init__(self, title: str, total: int, start: int, clips: int, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._title, self._total, self._clips = title, total, clips
        self._recall = ""
        self._console = Console(highlight=False, markup=False, quiet=not shown, force_jupyter=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.completed}/{task.total} {task.fields[numbers]} ETA", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            refresh_per_second=2,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._progress.add_task(title, total=total, completed=start, numbers="")
        self._started = time.monotonic()
        self._clock: tuple[float, int] | None = None  # the first step compiles, so the clock starts after it
        self._waiting = 0.0
        self._estimated = False
        self._latest: Mapping[str, float] = {}
        self._numbers = ""
        self._lines = TimedLines(self.say)

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

    def waited(self, seconds: float) -> None:
        """Time that a step waited for its batch."""
        if self._clock is not None:
            self._waiting += seconds

    def rates(self, step: int) -> dict[str, float]:
        """Return values to log with a step's metrics: clips/s, time waiting for data in percent, memory in GiB."""
        spent = time.monotonic() - self._clock[0] if self._clock is not None else 0.0
        share = 100 * self._waiting / spent if spent else 0.0
        return {"clips_per_second": self.clips_per_second(step), "data_wait": share, "memory": _memory()}

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """After step number `step` (from 1), with its metrics."""
        if self._clock is None:
            self._clock = (time.monotonic(), step)
            self.say(f"{self._title}: first step after {self._clock[0] - self._started:.0f} s")
        self._latest = {name: float(value) for name, value in metrics.items() if name != "gradient_norm"}
        shown = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in self._latest.items())
        self._estimate(step)
        rates = self.rates(step)
        rate = rates["clips_per_second"]
        speed = f" {_rate(rate)}, {rates['data_wait']:.0f}% waiting," if rate else ""
        self._numbers = f"{shown}{self._recall}{speed} {rates['memory']:.1f} GiB"
        self._progress.update(self._task, completed=step, numbers=self._numbers)

    def working(self, what: str, done: int, total: int) -> None:
        """How far an evaluation between two steps is, a `Progress`: instead of the numbers, or in lines."""
        if self._console.is_terminal:
            self._progress.update(self._task, numbers=f"{what} {done:,}/{total:,}")
        else:
            self._lines(f"{self._title}: {what}", done, total)

    def _estimate(self, step: int) -> None:
        """Say once how long the rest will take, when enough steps were timed."""
        left, rate = self._total - step, self.clips_per_second(step)
        if not self._estimated and rate and left and self._clock is not None and step - self._clock[1] >= TIMED_STEPS:
            self._estimated = True
            time_left = spoken_time(left * self._clips / rate)
            self.say(f"{self._title}: about {time_left} for the {left} steps left, without evaluations")

    def evaluated(self, step: int, split: str, recall: float) -> None:
        """After an evaluation: t2v R@1 on a split, in percent."""
        self._recall = f" {split} R@1 {recall:.1f}"
        self._progress.update(self._task, numbers=self._numbers)
        if not self._console.is_terminal:
            loss = self._latest.get("loss", float("nan"))
            rates = self.rates(step)
            rate = rates["clips_per_second"]
            speed = f" {_rate(rate)} {rates['data_wait']:.0f}% waiting" if rate else ""
            left = self._total - step
            eta = f" ETA {spoken_time(left * self._clips / rate)}" if rate and left else ""
            self.say(
                f"{self._title} step {step}/{self._total} loss {loss:.3f}{self._recall}{speed} "
                f"{rates['memory']:.1f} GiB{eta}"
            )

    def say(self, message: str) -> None:
        """One line above the live one."""
        self._console.print(message, soft_wrap=True)


def _rate(clips: float) -> str:
    return f"{clips:.0f} clips/s" if clips >= 10 else f"{clips:.1f} clips/s"


def _memory() -> float:
    """Largest memory in use so far, GiB: of the first device where it reports this, else of this process."""
    found = jax.local_devices()[0].memory_stats() or {}
    largest = found.get("peak_bytes_in_use", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return float(largest) / 2**30
