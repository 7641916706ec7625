"""Progress of work that takes long: how it is reported, and the bars that show it on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import jax

Progress = Callable[[str, int, int], None]
"""progress(what, done, total): what is being done, how much of it is done, and how much there is (0: not known)."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""
    del what, done, total


def labelled(progress: Progress, what: str, total: int = 0) -> Progress:
    """Report the same work under another name. total: instead of the one that the work reports, where it is not 0."""

    def report(_: str, done: int, of: int) -> None:
        progress(what, done, total or of)

    return report


class TimedLines:
    """Lines in place of bars, for output that is no terminal: what is being done, at most once in SECONDS.

    say: Prints a line.
    """

    SECONDS = 20.0
    LEAST = 2.0  # seconds since a thing was first reported: what ends sooner needs no line

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._what, self._done = say, "", 0
        self._noted = self._begun = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far the work is, unless a line was printed or the thing was begun a moment ago."""
        now = time.monotonic()
        if what != self._what or done < self._done:
            self._what, self._begun = what, now
        self._done = done
        is_time = now - self._noted >= self.SECONDS and now - self._begun >= self.LEAST
        if is_time and (done < total or not total):
            self._noted = now
            self._say(f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}")


def say_in_first_process(line: str) -> None:
    """Print a line on standard error; of several processes, the first one does."""
    if jax.process_index() == 0:
        print(line, file=sys.stderr, flush=True)


class ProgressBars:
    """A context manager that shows one bar for each thing that is being done; a `Progress` for the work inside it.

    Where the output is no terminal, lines say it from time to time.
    """

    def __init__(self) -> None:
        from rich import progress as bars
        from rich.console import Console

        console = Console(stderr=True, highlight=False, markup=False, force_jupyter=False)
        self._lines = None if console.is_terminal else TimedLines(say_in_first_process)
        self._progress = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=20),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal or jax.process_index() > 0,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Called again from the start, a thing gets a new bar."""
        if self._lines is not None:
            return self._lines(what, done, total)
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(what))
