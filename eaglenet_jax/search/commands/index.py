"""`search index`: files and folders → an index that is up to date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.model import DEMO_ONLY
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule

DEFAULT_CHECKPOINT = "openai/clip-vit-base-patch32"


def run(given: argparse.Namespace) -> int:
    """Indexes, and says what was done. Exit code 1 if there were files and none could be read."""
    for place in given.videos:
        if not Path(place).exists():  # before an index is made for it
            raise UserError(f"there is no file or folder {place}; give what holds the videos")
    index = _open(given)
    if index.model.is_demo:
        print(DEMO_ONLY, file=sys.stderr)
    added = index.add(given.videos, progress=True)
    parts = [
        f"{added.new} new",
        f"{added.changed} changed",
        f"{added.unchanged} unchanged",
        f"{added.dropped} dropped",
        *([f"{added.elsewhere} by another process"] if added.elsewhere else []),
        *([f"{len(added.failed)} could not be read"] if added.failed else []),
    ]
    print(f"files: {', '.join(parts)}; {added.windows} windows in {added.seconds:.1f} s, {len(index)} in {given.index}")
    return int(bool(added.failed) and not (added.new or added.changed or added.unchanged or added.elsewhere))


def _open(given: argparse.Namespace) -> SearchIndex:
    asked = {"seconds": given.window, "overlap": given.overlap, "shots": given.shots or None}
    rule = {name: value for name, value in asked.items() if value is not None}
    there = Store.there(given.index)
    if there is None:
        return SearchIndex.create(given.index, given.checkpoint or DEFAULT_CHECKPOINT, WindowRule(**rule))
    for name, value in rule.items():
        if getattr(there.settings.rule, name) != value:
            raise UserError(f"{given.index} was made with {there.settings.rule}; leave --window, --overlap and --shots")
    return SearchIndex.open(given.index, given.checkpoint)
