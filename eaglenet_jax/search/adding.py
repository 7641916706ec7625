"""Update of an index: plan what is new, changed, moved and gone, index it by one process or several, sum it up."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eaglenet_jax.search.files import Plan, current_state, find_videos, make_plan, named
from eaglenet_jax.search.indexing import Tally, ToDo, index_files
from eaglenet_jax.search.model import SearchModel
from eaglenet_jax.search.presence import follow_moved
from eaglenet_jax.search.progress import IndexingLine
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.workers import index_in_processes


@dataclasses.dataclass(frozen=True)
class Added:
    """Result of `add_videos`.

    Attributes:
        new: New files that were indexed.
        changed: Changed files that were indexed again.
        unchanged: Files that were left alone.
        dropped: Files whose rows were deleted, including those whose new content cannot be read, which are in `failed`
            too.
        windows: Rows that were written.
        elsewhere: Files that another process indexed in the meantime.
        failed: By path, why a file could not be read.
        warnings: By path, what is wrong with a file that was indexed nevertheless.
        seconds: Duration.
        moved: Files that were moved or renamed: their rows have their new paths.
        unreadable: By path, folders that could not be listed, and why.
        passed: Number of files that go by no name of videos, by suffix.
    """

    new: int
    changed: int
    unchanged: int
    dropped: int
    windows: int
    elsewhere: int
    failed: Mapping[str, str]
    warnings: Mapping[str, str]
    seconds: float
    moved: int = 0
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    passed: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while videos are added.

    Args:
        added: What was finished before it.
    """

    def __init__(self, added: Added) -> None:
        super().__init__()
        self.added = added


@dataclasses.dataclass(frozen=True)
class How:
    """How videos are added.

    Attributes:
        progress: Show progress on stderr.
        workers: Processes that share the work. Each opens the model; this process does not where there are several.
        checkpoint: Where they open it.
        ready: ready(file) returns whether a new or changed file may be read already; None for always.
    """

    progress: bool = True
    workers: int = 1
    checkpoint: str = ""
    ready: Callable[[Path], bool] | None = None


def add_videos(store: Store, model: Callable[[], SearchModel], places: Sequence[Path], how: How) -> Added:
    """Bring the index up to date with files and folders.

    New and changed files are indexed, moved ones keep their rows, and those that no longer exist are dropped. Files of
    other places are left alone. What cannot be read is passed over and named.
    A file's rows are committed together, so a killed process leaves whole files, and the next call indexes the rest.
    Several processes may index the same places at once, also on several machines: they share the files.

    Args:
        store: The index.
        model: Opens its model; called only if this process reads files itself.
        places: Files and folders.
        how: What is shown, and how many processes work.

    Raises:
        Interrupted: The user interrupts once something may have been written; what is finished is in the index.
        UserError: A place does not exist, or the index cannot be written.
    """
    started = time.monotonic()
    places = list(dict.fromkeys(map(named, places)))
    listings = [find_videos(place) for place in places]
    plans = [
        make_plan(place, listing.files, store.files(str(place)), listing.unreadable)
        for place, listing in zip(places, listings, strict=True)
    ]
    tally, changed = Tally(), frozenset[str]()
    moved: dict[Path, str] = {}
    dropped: set[str] = set()

    def result() -> Added:
        return _added(
            tally,
            changed,
            unchanged=len({file for plan in plans for file in plan.unchanged}),
            dropped=len(dropped) + tally.dropped,
            moved=len(moved),
            unreadable={folder: why for listing in listings for folder, why in listing.unreadable.items()},
            passed=sum((Counter(listing.passed) for listing in listings), Counter()),
            seconds=time.monotonic() - started,
        )

    try:
        plans = follow_moved(store, plans, moved)
        _drop(store, plans, dropped)
        store.touch({path: state for plan in plans for path, state in plan.touched.items()})
        todo = [file for plan in plans for file in (*plan.new, *plan.changed) if how.ready is None or how.ready(file)]
        todo = list(dict.fromkeys(todo))
        changed = frozenset(str(file) for plan in plans for file in plan.changed)
        # In random order, so that processes that index the same places rarely ask for the same file.
        random.SystemRandom().shuffle(todo)
        line = IndexingLine(todo, shown=how.progress)
        tally = line.tally
        with line:
            workers = min(how.workers, len(todo))
            if workers > 1:
                index_in_processes(store, how.checkpoint, ToDo(todo, changed, workers), line)
            elif todo:
                index_files(store, model(), ToDo(todo, changed), line)
        store.tidy()
    except KeyboardInterrupt as error:
        raise Interrupted(result()) from error
    return result()


def add_files(store: Store, model: Callable[[], SearchModel], files: Sequence[Path]) -> Added:
    """Index files that are known by name, see `SearchIndex.add_files`."""
    started = time.monotonic()
    names = list(dict.fromkeys(map(named, files)))
    states = store.states(list(map(str, names)))
    current = {file: state for file in names if (state := current_state(file, states.get(str(file), ()))) is not None}
    store.touch({str(file): state for file, state in current.items() if state not in states[str(file)]})
    todo = [file for file in names if file not in current]
    changed = frozenset(str(file) for file in todo if str(file) in states)
    line = IndexingLine(todo, shown=False)
    if todo:
        index_files(store, model(), ToDo(todo, changed), line)
    seconds = time.monotonic() - started
    return _added(line.tally, changed, unchanged=len(current), dropped=line.tally.dropped, seconds=seconds)


def _added(tally: Tally, changed: frozenset[str], **more: Any) -> Added:
    return Added(
        new=len(tally.finished - changed),
        changed=len(tally.finished & changed),
        windows=tally.windows,
        elsewhere=len(tally.elsewhere - tally.finished),
        failed=tally.failed,
        warnings=tally.warnings,
        **more,
    )


def _drop(store: Store, plans: Sequence[Plan], dropped: set[str]) -> None:
    """Delete the rows of files that are gone, which `dropped` receives, and old rows of files that have new ones."""
    gone = {path for plan in plans for path in plan.gone}
    store.drop(gone)
    dropped |= gone
    for plan in plans:
        store.drop(plan.replaced, keep=plan.replaced)
