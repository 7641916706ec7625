"""An index that follows a folder: looks from time to time, and adds what has come to rest."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.adding import Added
from eaglenet_jax.search.files import find_videos, named

LOOK_SECONDS = 5.0  # between two looks, at least
SHARE_OF_TIME = 0.1  # that looking may take, where a look itself is slow
RESTED_SECONDS = 3600.0  # since its last change by its disk's clock, after which a file is not being written

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


class Watch:
    """What is known of some places between looks.

    It looks by listing the folders instead of asking the system to tell of changes: such messages do not come from
    network file systems when another machine writes, get lost when there are many, and end with a mount.

    Args:
        places: Files and folders.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = [named(place) for place in places]
        self._before: Mapping[Path, Stamp] = {}
        self._added: Mapping[Path, Stamp] = {}
        self._failed: dict[Path, Stamp] = {}
        self._rested: Mapping[Path, Stamp] = {}

    def look(self) -> bool:
        """List the places; return whether there is something to add or to drop.

        A file counts when its size and time are those of the look before, or if it was last changed a while ago: one
        that is still being written waits. So do vanished files where nothing else is due:
        they may appear elsewhere.

        Raises:
            UserError: A place does not exist, or cannot be read.
        """
        now = {file: stamp for place in self._places for file, stamp in _stamps(place).items()}
        clock, before = time.time(), self._before
        self._before = now
        self._rested = {
            file: stamp
            for file, stamp in now.items()
            if before.get(file) == stamp or clock - stamp[1] / 1e9 > RESTED_SECONDS
        }
        gone = self._added.keys() - now.keys()
        return any(self._is_due(file) for file in self._rested) or bool(gone - before.keys())

    def ready(self, file: Path) -> bool:
        """Return whether a new or changed file may be read: it has come to rest, and has not failed as it is."""
        return file in self._rested and self._failed.get(file) != self._rested[file]

    def _is_due(self, file: Path) -> bool:
        return self._added.get(file) != self._rested[file]

    def added(self, added: Added) -> None:
        """Record that the index is as of the last look."""
        self._added = dict(self._rested)
        failed = {Path(path) for path in added.failed}
        self._failed = {file: stamp for file, stamp in self._rested.items() if file in failed or not self.ready(file)}


def _stamps(place: Path) -> dict[Path, Stamp]:
    stamps = {}
    for file in find_videos(place).files:
        try:
            status = file.stat()
        except OSError:
            continue  # it has gone in between
        stamps[file] = status.st_size, status.st_mtime_ns
    return stamps


@dataclasses.dataclass
class Watched:
    """What has been done while watching.

    Attributes:
        counts: Files by what was done with them, and "windows".
        seconds: Duration.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    seconds: float = 0.0


def watch(
    places: Sequence[Path],
    add: Callable[[Callable[[Path], bool]], Added],
    say: Callable[[str], None],
) -> Watched:
    """Follow places until the user interrupts.

    Args:
        places: Files and folders.
        add: add(ready) brings the index up to date with the places, reading no file that is not ready.
        say: Receives a line for each trouble, once until it changes.

    Returns:
        What was done.
    """
    seen, done, trouble, started = Watch(places), Watched(), "", time.monotonic()
    pause = LOOK_SECONDS
    try:
        while True:
            try:
                before = time.monotonic()
                due = seen.look()
                pause = max(LOOK_SECONDS, (time.monotonic() - before) / SHARE_OF_TIME)
                if due:
                    added = add(seen.ready)
                    seen.added(added)
                    done.counts.update(
                        {name: getattr(added, name) for name in ("new", "changed", "moved", "dropped", "windows")}
                    )
                    done.counts["could not be read"] += len(added.failed)
                trouble = ""
            except UserError as error:  # a disk that is not there now, a store that cannot be reached: it may come back
                if str(error) != trouble:
                    trouble = str(error)
                    say(f"{trouble}; still watching")
            time.sleep(pause)
    except KeyboardInterrupt:
        done.seconds = time.monotonic() - started
        return done
