"""An index that follows folders: looks from time to time, and adds what has come to rest."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.adding import Added, Interrupted
from eaglenet_jax.search.files import find_videos, named

NAP_SECONDS = 0.5  # after which a pause sees that it is to end
LOOK_SECONDS = 5.0  # between two looks, at least
SHARE_OF_TIME = 0.1  # that looking may take, where a look itself is slow
RESTED_SECONDS = 3600.0  # since its last change by its disk's clock, after which a file is not being written

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


class Watch:
    """State of a place between looks.

    It looks by listing the folders instead of asking the system to tell of changes: such messages do not come from
    network file systems when another machine writes, get lost when there are many, and end with a mount.

    Args:
        place: File or folder.

    Attributes:
        place: The same, as `named`.
        due: Whether the last look found something to add or to drop.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.due = named(place), False
        self._before: Mapping[Path, Stamp] = {}
        self._added: Mapping[Path, Stamp] = {}
        self._failed: dict[Path, Stamp] = {}
        self._rested: Mapping[Path, Stamp] = {}

    def look(self) -> bool:
        """List the place; return whether there is something to add or to drop.

        A file counts when its size and time are those of the look before, or if it was last changed a while ago: one
        that is still being written waits. So do vanished files where nothing else is due: they may appear elsewhere.

        Raises:
            UserError: The place does not exist, or cannot be read.
        """
        now = _stamps(self.place)
        clock, before = time.time(), self._before
        self._before = now
        self._rested = {
            file: stamp
            for file, stamp in now.items()
            if before.get(file) == stamp or clock - stamp[1] / 1e9 > RESTED_SECONDS
        }
        gone = self._added.keys() - now.keys()
        self.due = any(self._is_due(file) for file in self._rested) or bool(gone - before.keys())
        return self.due

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
    """Outcome of watching.

    Attributes:
        counts: Files by what was done with them, and "windows".
        seconds: Duration.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    seconds: float = 0.0

    def count(self, added: Added) -> None:
        """Take in the result of a pass."""
        self.counts.update({name: getattr(added, name) for name in ("new", "changed", "moved", "dropped", "windows")})
        self.counts["could not be read"] += len(added.failed)


Add = Callable[[Sequence[Path], Callable[[Path], bool]], Added]
"""add(places, ready) brings an index up to date with places and reads no file that is not ready."""


@dataclasses.dataclass
class Stop:
    """Whether watching is to end.

    A plain attribute, because a handler of a signal sets it: an Event takes a lock that the thread may hold already.

    Attributes:
        wanted: Set by the handler.
    """

    wanted: bool = False

    def wait(self, seconds: float) -> None:
        """Wait, at most until it is wanted."""
        end = time.monotonic() + seconds
        while not self.wanted and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, NAP_SECONDS))


def watch(places: Sequence[Path], add: Add, say: Callable[[str], None], stop: Stop) -> Watched:
    """Follow places until the user interrupts. One that is away, or cannot be added, does not hold up the others.

    Args:
        places: Files and folders.
        add: Brings the index up to date.
        say: Receives a line for each trouble, once while it lasts.
        stop: Ends it as KeyboardInterrupt does, but after a pass that has begun. For an interrupt that arrives while
            a callback of the garbage collector or a finalizer runs: Python prints and drops what these raise.

    Returns:
        What was done.
    """
    watches = [Watch(place) for place in dict.fromkeys(map(named, places))]
    done, lasting, started = Watched(), set[str](), time.monotonic()
    try:
        while not stop.wanted:
            before = time.monotonic()
            # Of a disk that is not there now, or a store that cannot be reached: it may come back.
            trouble: list[str] = []
            seen = [each for each in watches if _looks(each, trouble)]
            pause = max(LOOK_SECONDS, (time.monotonic() - before) / SHARE_OF_TIME)
            if any(each.due for each in seen):
                _add_seen(seen, add, done, trouble)
            for line in dict.fromkeys(trouble):
                if line not in lasting:
                    say(f"{line}; still watching")
            lasting = set(trouble)
            stop.wait(pause)
    except KeyboardInterrupt as error:
        if isinstance(error, Interrupted):
            done.count(error.added)
    done.seconds = time.monotonic() - started
    return done


def _looks(seen: Watch, trouble: list[str]) -> bool:
    """Look at a place; return whether that was possible."""
    try:
        seen.look()
    except UserError as error:
        trouble.append(str(error))
        return False
    return True


def _add_seen(seen: Sequence[Watch], add: Add, done: Watched, trouble: list[str]) -> None:
    """Add places together, so that files can move between them; if that fails, each by itself."""
    try:
        added = add([each.place for each in seen], lambda file: any(each.ready(file) for each in seen))
    except UserError as error:
        if len(seen) == 1:
            trouble.append(str(error))
            return
        for each in seen:
            if each.due:
                _add_seen([each], add, done, trouble)
        return
    done.count(added)
    for each in seen:
        each.added(added)
