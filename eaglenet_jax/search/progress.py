"""Progress of indexing in hours of video: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from eaglenet_jax.search.files import size_of
from eaglenet_jax.search.indexing import Tally
from eaglenet_jax.wording import spoken_time

SECONDS_BETWEEN_LINES = 10.0


class IndexingLine:
    """Progress in hours of video, with the time left. A context manager.

    How long all files are is not known before they are read: it is estimated by their bytes and by the files so far.

    Args:
        files: Files to index.
        shown: False shows nothing.

    Attributes:
        tally: Outcome of the files so far.
    """

    def __init__(self, files: Sequence[Path], shown: bool) -> None:
        self._sizes = {file: size_of(file) for file in files}
        self._total = max(1, sum(self._sizes.values()))
        self._reached: dict[Path, float] = {}
        self._finished: set[Path] = set()
        self._done = 0.0  # bytes
        self._encoded: set[Path] = set()
        self._bytes, self._seconds = 0.0, 0.0  # of what was encoded, and seconds of video of the same
        self.tally = Tally()
        self._shown = shown and bool(files)
        self._started = self._said = time.monotonic()
        console = Console(stderr=True, force_jupyter=False)
        terminal = console.is_terminal
        columns = (
            TextColumn("Indexing"),
            BarColumn(),
            TextColumn("{task.fields[files]}/{task.fields[of]} files{task.fields[video]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._drawn = self._shown and terminal
        self._bar = Progress(*columns, console=console, disable=not self._drawn)
        self._task = self._bar.add_task("", total=self._total, files=0, of=len(files), video="")

    def __enter__(self) -> IndexingLine:
        if self._drawn:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._bar.stop()

    def reached(self, file: Path, share: float, seconds: float) -> None:
        """Record that a window of a file is encoded.

        Args:
            file: The file.
            share: Part of the file that is done, between 0 and 1; 0 where its length is not known.
            seconds: Seconds of video that no earlier window has.
        """
        self._seconds += seconds
        if file not in self._encoded:  # files that others index count as done, and say nothing about seconds
            self._encoded.add(file)
            self._bytes += self._reached.get(file, 0.0) * self._sizes.get(file, 0)
        self._reach(file, share)

    def finished(self, file: Path, trouble: str | None) -> None:
        """Record that a file is read.

        Args:
            file: The file.
            trouble: What was wrong with it, if anything.
        """
        known = file in self._finished  # several processes report a file that is given up
        self._finished.add(file)
        if trouble and not known:
            self.trouble(file, trouble)
        self._reach(file, 1.0)

    def trouble(self, file: Path, what: str) -> None:
        """Show that something is wrong with a file."""
        self.say(f"{file}: {what}")

    def say(self, line: str) -> None:
        """Show a line."""
        if self._shown:
            self._bar.console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def settled(self, tally: Tally) -> None:
        """Add to the outcome of the files."""
        self.tally.add(tally)

    @property
    def video(self) -> str:
        """Hours of video that are done, and of all files as estimated so far; minutes where they are few."""
        if not (self._seconds and self._bytes):
            return ""
        rate = self._seconds / self._bytes
        unit, length = ("hours", 3600) if self._total * rate >= 3600 else ("minutes", 60)
        done, total = (f"{size * rate / length:,.1f}" for size in (self._done, self._total))
        return f", {done} of about {total} {unit} of video"

    def _reach(self, file: Path, share: float) -> None:
        before = self._reached.get(file, 0.0)
        new = max(0.0, share - before) * self._sizes.get(file, 0)
        self._reached[file] = max(before, share)
        self._done += new
        self._bytes += new if file in self._encoded else 0.0
        self._show(self._done)

    def _show(self, done: float) -> None:
        if self._drawn:
            self._bar.update(self._task, completed=done, files=len(self._finished), video=self.video)
        now = time.monotonic()
        if self._shown and not self._drawn and now - self._said >= SECONDS_BETWEEN_LINES and done:
            self._said = now
            left = (now - self._started) * (self._total - done) / done
            print(
                f"{len(self._finished)} of {len(self._sizes)} files{self.video}, about {spoken_time(left)} left",
                file=sys.stderr,
                flush=True,
            )
