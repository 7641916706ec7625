"""Which video files there are, and which of them an index has as they are now."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from eaglenet_jax.data.video_files import SUFFIXES, VideoFolder
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.store import FileState


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is to do. new, changed, unchanged: files by absolute path. gone: indexed paths whose file is no longer
    there. replaced: files that have rows of an older content beside their own, with the content's hash.
    """

    new: tuple[Path, ...]
    changed: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    gone: tuple[str, ...]
    replaced: Mapping[str, str]


def find_videos(place: Path) -> list[Path]:
    """A file itself, or all files below a folder with a suffix that videos go by; as `named`, sorted. UserError for a
    place that is not there.
    """
    place = named(place)
    if place.is_file():
        return [place]
    files = [file for files in VideoFolder(place).by_stem.values() for file in files]
    return sorted(file for file in files if file.suffix[1:].lower() in SUFFIXES)


def named(place: Path) -> Path:
    """The one name that an index has for a file or folder: absolute, without "..". Links keep their names."""
    return Path(os.path.abspath(place))


def make_plan(place: Path, files: Sequence[Path], indexed: Mapping[str, Sequence[FileState]]) -> Plan:
    """Compares the files of a place with what is indexed of it.

    A file of the same size and time of change counts as unchanged without being read; else its content's hash decides.
    UserError where a folder holds no videos any more and the index still has some of it: a disk may not be there.
    """
    there = {str(file) for file in files}
    # A file that was named itself is indexed whatever it is called; a listing of its folder may leave it out.
    gone = tuple(sorted(path for path in indexed if path not in there and not Path(path).is_file()))
    if not files and gone and len(gone) == len(indexed):
        raise UserError(
            f"{place} holds no videos now, the index has {len(indexed)} files of it; is a disk missing? To drop them "
            "make a new index"
        )
    new: list[Path] = []
    changed: list[Path] = []
    unchanged: list[Path] = []
    replaced = {}
    for file in files:
        states = indexed.get(str(file), ())
        current = next((state for state in states if is_current(file, state)), None)
        if current is not None:
            unchanged.append(file)
            if len(states) > 1:
                replaced[str(file)] = current.hash
        else:
            (changed if states else new).append(file)
    return Plan(tuple(new), tuple(changed), tuple(unchanged), gone, replaced)


def is_current(file: Path, state: FileState) -> bool:
    """Whether a file is as it was when it was indexed."""
    try:
        found = file.stat()
        return found.st_size == state.size and (found.st_mtime_ns == state.time or content_hash(file) == state.hash)
    except OSError:
        return False  # it will be tried, and reported


def file_state(file: Path) -> FileState:
    """Reads a file's state. OSError where it cannot be read."""
    found = file.stat()
    return FileState(content_hash(file), found.st_size, found.st_mtime_ns)


def content_hash(file: Path) -> str:
    """BLAKE2b of a file's content, 32 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
