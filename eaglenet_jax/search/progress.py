"""Progress of indexing: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class IndexingLine:
    """Progress in bytes of the files, with the time left. A context manager.

    Args:
        files: Files to index.
        shown: False shows nothing.
    """

    def __init__(self, files: Sequence[Path], shown: bool) -> None:
        self._sizes = {file: _size(file) for file in files}
        self._total = max(1, sum(self._sizes.values()))
        self._reached: dict[Path, float] = {}
        self._files = self._windows = 0
        self._done = 0.0
        self._shown = shown and bool(files)
        self._started = self._said = time.monotonic()
        console = Console(stderr=True)
        terminal = console.is_terminal
        columns = (
            TextColumn("Indexing"),
            BarColumn(),
            TextColumn("{task.fields[files]}/{task.fields[of]} files, {task.fields[windows]} windows"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._drawn = self._shown and terminal
        self._bar = Progress(*columns, console=console, disable=not self._drawn)
        self._task = self._bar.add_task("", total=self._total, files=0, of=len(files), windows=0)

    def __enter__(self) -> IndexingLine:
        if self._drawn:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._bar.stop()

    def reached(self, file: Path, share: float) -> None:
        """Record that a window of a file is encoded.

        Args:
            file: The file.
            share: Part of the file that is done, between 0 and 1.
        """
        self._windows += 1
        self._reach(file, share)

    def finished(self, file: Path, trouble: str | None) -> None:
        """Record that a file is read.

        Args:
            file: The file.
            trouble: What was wrong with it, if anything.
        """
        self._files += 1
        if trouble:
            self.trouble(file, trouble)
        self._reach(file, 1.0)

    def trouble(self, file: Path, what: str) -> None:
        """Show that something is wrong with a file."""
        if self._shown:
            self._bar.console.print(f"{file}: {what}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _reach(self, file: Path, share: float) -> None:
        before = self._reached.get(file, 0.0)
        if share > before:
            self._reached[file] = share
            self._done += (share - before) * self._sizes.get(file, 0)
        self._show(self._done)

    def _show(self, done: float) -> None:
        if self._drawn:
            self._bar.update(self._task, completed=done, files=self._files, windows=self._windows)
        now = time.monotonic()
        if self._shown and not self._drawn and now - self._said >= SECONDS_BETWEEN_LINES and done:
            self._said = now
            left = (now - self._started) * (self._total - done) / done
            print(
                f"{self._files} of {len(self._sizes)} files, {self._windows} windows, about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
