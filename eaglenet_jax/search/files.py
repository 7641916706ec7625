"""Video files to index, and their comparison with the files that an index contains."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from eaglenet_jax.data.video_files import SUFFIXES, VideoFolder
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.rows import FileState


@dataclasses.dataclass(frozen=True)
class Plan:
    """Work to bring an index up to date.

    Attributes:
        new: Files to index, absolute paths.
        changed: Indexed files whose content has changed, absolute paths.
        unchanged: Indexed files to leave alone, absolute paths.
        gone: Indexed paths whose file no longer exists.
        replaced: Files that have rows of an older content besides the current ones, with the hash of the current
            content.
        touched: Present states of unchanged files whose modification time is not the indexed one, by path.
    """

    new: tuple[Path, ...]
    changed: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    gone: tuple[str, ...]
    replaced: Mapping[str, str]
    touched: Mapping[str, FileState]


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files of a place.

    Attributes:
        files: Its videos, as `named`, sorted.
        passed: Number of other files, by suffix ("" for none).
        unreadable: Folders that cannot be listed, and why.
    """

    files: tuple[Path, ...]
    passed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find_videos(place: Path) -> Listing:
    """List a file itself, or all files below a folder with the suffix of a video.

    Raises:
        UserError: The place does not exist, or is a folder that cannot be read.
    """
    place = named(place)
    if place.is_file():
        return Listing((place,))
    folder = VideoFolder(place)
    files = [file for files in folder.by_stem.values() for file in files]
    videos = tuple(sorted(file for file in files if file.suffix[1:].lower() in SUFFIXES))
    passed = collections.Counter(file.suffix.lower() for file in files if file.suffix[1:].lower() not in SUFFIXES)
    return Listing(videos, dict(sorted(passed.items())), folder.unreadable)


def named(place: Path) -> Path:
    """Return the name of a file or folder in an index: absolute, without "..". Links keep their names."""
    return Path(os.path.abspath(place))


def make_plan(
    place: Path,
    files: Sequence[Path],
    indexed: Mapping[str, Sequence[FileState]],
    unreadable: Mapping[str, str] | None = None,
) -> Plan:
    """Compare the files of a place with the indexed files of it.

    A file of the same size and modification time counts as unchanged without being read; else the hash of its content
    decides.

    Args:
        place: File or folder.
        files: Its videos.
        indexed: States of the indexed files, by path.
        unreadable: Folders of the place that cannot be listed: what is indexed of them is left alone.

    Raises:
        UserError: A folder contains no videos while the index has some of it: a disk may not be mounted.
    """
    present = {str(file) for file in files}
    # A file given by name is indexed whatever its suffix; a listing of its folder may leave it out.
    hidden = tuple(f"{folder.rstrip('/')}/" for folder in unreadable or ())
    gone = tuple(
        sorted(
            path for path in indexed if path not in present and not path.startswith(hidden) and not Path(path).is_file()
        )
    )
    if not files and gone and len(gone) == len(indexed):
        raise UserError(
            f"{place} holds no videos now, the index has {len(indexed)} files of it; is a disk missing? To drop "
            "them: search index --prune"
        )
    new: list[Path] = []
    changed: list[Path] = []
    unchanged: list[Path] = []
    replaced: dict[str, str] = {}
    touched: dict[str, FileState] = {}
    for file in files:
        states = indexed.get(str(file), ())
        current = current_state(file, states)
        if current is not None:
            unchanged.append(file)
            if len({state.hash for state in states}) > 1:
                replaced[str(file)] = current.hash
            if current not in states:
                touched[str(file)] = current
        else:
            (changed if states else new).append(file)
    return Plan(tuple(new), tuple(changed), tuple(unchanged), gone, replaced, touched)


def current_state(file: Path, indexed: Sequence[FileState]) -> FileState | None:
    """Return the present state of a file if its content is indexed, else None.

    The content is read only where a file of an indexed size has another modification time.

    Args:
        file: The file.
        indexed: States in which it was indexed.
    """
    try:
        status = file.stat()
        candidates = [state for state in indexed if state.size == status.st_size]
        same = next((state for state in candidates if state.time == status.st_mtime_ns), None)
        if same is not None or not candidates:
            return same
        content = content_hash(file)
    except OSError:
        return None  # indexing tries to read it and reports the error
    known = any(state.hash == content for state in candidates)
    return FileState(content, status.st_size, status.st_mtime_ns) if known else None


def file_state(file: Path) -> FileState:
    """Read the state of a file.

    Raises:
        OSError: It cannot be read.
    """
    status = file.stat()
    return FileState(content_hash(file), status.st_size, status.st_mtime_ns)


def content_hash(file: Path) -> str:
    """Return BLAKE2b of a file's content, 32 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def size_of(file: Path) -> int:
    """Return the bytes of a file, 0 where they cannot be read."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
