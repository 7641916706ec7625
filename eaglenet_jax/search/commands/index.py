"""`search index`: bring an index up to date with files and folders."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.port.load import clip_files
from eaglenet_jax.search.adding import Added, Interrupted
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.model import DEMO_ONLY
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.watching import Stop, watch
from eaglenet_jax.search.windows import WindowRule
from eaglenet_jax.wording import counted

DEFAULT_CHECKPOINT = "openai/clip-vit-base-patch32"


def run(given: argparse.Namespace) -> int:
    """Index the videos and print a summary.

    Exit code 1 if there were files and none could be read, 2 if a folder could not be read or a file vanished.
    """
    if not given.videos and not given.prune:
        raise UserError("nothing to index; give folders or files, or --prune to drop files that are gone")
    if given.watch and (given.prune or not given.videos):
        raise UserError("--watch follows folders that are given, and drops what is gone of them; leave out --prune")
    if given.workers < 1:
        raise UserError(f"--workers={given.workers}: give 1 or more")
    for place in given.videos:
        if not Path(place).exists():  # checked before an index is created
            raise UserError(
                f"there is no file or folder {place}; give the place of the videos (--prune drops what is gone)"
                f"{near_path(Path(place))}"
            )
    index = _open(given)
    if not given.videos:
        print(f"files: {index.prune()} pruned; {len(index)} windows in {given.index}")
        return 0
    if index.is_demo:
        print(DEMO_ONLY, file=sys.stderr)
    if given.watch:
        return _watch(given, index)
    try:
        added = index.add(given.videos, progress=True, workers=given.workers)
    except Interrupted as error:
        print(f"{_said(error.added)}; the same command continues", flush=True)
        raise
    pruned = index.prune() if given.prune else None
    _passed_over(added)
    print(f"{_said(added, pruned)} in {added.seconds:.1f} s, {len(index)} in {given.index}")
    if added.unreadable or any(not Path(path).exists() for path in added.failed):
        return 2
    read = added.new or added.changed or added.unchanged or added.elsewhere or added.moved
    return int(bool(added.failed) and not read)


def _passed_over(added: Added) -> None:
    for suffix, count in added.passed.items():
        print(f"passed over: {count} {suffix or 'files without a suffix'}", file=sys.stderr)
    for folder, reason in added.unreadable.items():
        print(f"passed over: {folder}: {reason}", file=sys.stderr)


def _said(added: Added, pruned: int | None = None) -> str:
    unread = len(added.unreadable)
    parts = [
        *([f"{added.moved} moved"] if added.moved else []),
        f"{added.new} new",
        f"{added.changed} changed",
        f"{added.unchanged} unchanged",
        f"{added.dropped} dropped",
        *([f"{added.elsewhere} by another process"] if added.elsewhere else []),
        *([f"{pruned} pruned"] if pruned is not None else []),
        *([f"{len(added.failed)} could not be read"] if added.failed else []),
        *([f"{counted(unread, 'folder')} could not be read"] if unread else []),
    ]
    return f"files: {', '.join(parts)}; {counted(added.windows, 'window')}"


def _watch(given: argparse.Namespace, index: SearchIndex) -> int:
    """Follow the places until Ctrl-C or SIGTERM, both of which end it as planned."""

    def add(places: Sequence[Path], ready: Callable[[Path], bool]) -> Added:
        added = index.add(places, progress=True, workers=given.workers, ready=ready)
        print(f"{time.strftime('%H:%M:%S')} {_said(added)} in {added.seconds:.1f} s", flush=True)
        return added

    stop = Stop()

    def end(*_: object) -> None:
        stop.wanted = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    print(f"watching {', '.join(given.videos)}; Ctrl-C ends it", file=sys.stderr, flush=True)
    places = [Path(place) for place in given.videos]
    try:
        done = watch(places, add, lambda line: print(line, file=sys.stderr, flush=True), stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    counts = ", ".join(f"{count} {name}" for name, count in done.counts.items() if name != "windows" and count)
    print(
        f"watched for {datetime.timedelta(seconds=round(done.seconds))}: {counts or 'nothing to do'}; "
        f"{done.counts['windows']} windows, {len(index)} in {given.index}"
    )
    return 0


def _check_default() -> None:
    """Raise UserError that says what else there is, where the default model cannot be fetched."""
    try:
        clip_files(DEFAULT_CHECKPOINT)
    except UserError as error:
        raise UserError(f"{error}; --checkpoint=demo needs no download and knows coloured shapes alone") from error


def _open(given: argparse.Namespace) -> SearchIndex:
    options = {"seconds": given.window, "overlap": given.overlap, "shots": given.shots or None}
    rule = {name: value for name, value in options.items() if value is not None}
    store = Store.open_existing(given.index)
    if store is None:
        if not given.videos:
            near = near_path(Path(given.index), folders=True)
            raise UserError(f"there is no index at {given.index}; give the --index that is to be pruned{near}")
        if given.checkpoint is None:
            print(f"model: {DEFAULT_CHECKPOINT}, the default; --checkpoint takes another", file=sys.stderr, flush=True)
        checkpoint = given.checkpoint or DEFAULT_CHECKPOINT
        windows = WindowRule(**rule)
        if given.checkpoint is None:
            _check_default()
        index = SearchIndex.create(given.index, checkpoint, windows)
        # Several processes each open the model; here it would take memory and do nothing.
        return index if given.workers == 1 else SearchIndex.open(given.index, checkpoint)
    for name, value in rule.items():
        if getattr(store.settings.rule, name) != value:
            raise UserError(
                f"{given.index} was made with {store.settings.rule}; leave out --window, --overlap and --shots"
            )
    index = SearchIndex.open(given.index, given.checkpoint)
    if given.checkpoint not in (None, store.settings.checkpoint):
        _ = index.model  # another one is refused also where no file is new
    return index
