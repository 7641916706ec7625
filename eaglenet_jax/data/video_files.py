"""Video files on disk, found by the dataset's id whatever their suffix and subfolder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError, near_path

# Suffixes of the datasets' files, including DiDeMo's unusual ones.
SUFFIXES = frozenset(
    [
        "3g2",
        "3gp",
        "3gpp",
        "asf",
        "avi",
        "divx",
        "dv",
        "f4v",
        "flv",
        "ivf",
        "m1v",
        "m2ts",
        "m2v",
        "m4v",
        "mkv",
        "mod",
        "mov",
        "mp4",
        "mpe",
        "mpeg",
        "mpg",
        "mts",
        "mxf",
        "null",
        "nut",
        "ogm",
        "ogv",
        "qt",
        "rm",
        "rmvb",
        "tod",
        "ts",
        "vob",
        "webm",
        "wmv",
        "wtv",
        "y4m",
    ]
)


def stem(name: str) -> str:
    """Remove video suffixes from a name: "a.mov.mp4" → "a", while "00.07.170-00.09.675" is unchanged."""
    while True:
        front, dot, suffix = name.rpartition(".")
        if not dot or not front or (suffix and suffix.lower() not in SUFFIXES):
            return name
        name = front


class VideoFolder:
    """Video files below a folder, by stem. Hidden files and folders are passed over.

    Attributes:
        folder: The folder.
        unreadable: Folders below it that cannot be listed, and why.
    """

    def __init__(self, folder: Path) -> None:
        """List the files.

        Raises:
            UserError: There is no such folder, or it cannot be read itself.
        """
        if not folder.is_dir():
            near = near_path(folder, folders=True)
            raise UserError(f"there is no folder {folder}; give the folder that holds the video files{near}")
        self.folder = folder
        self.unreadable: dict[str, str] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in _files(folder, self.unreadable):
            # Some file systems take names apart into letters and accents (NFD); annotations compose them (NFC).
            self._by_stem.setdefault(stem(unicodedata.normalize("NFC", path.name)), []).append(path)
        if str(folder) in self.unreadable:
            raise UserError(
                f"the folder {folder} cannot be read: {self.unreadable[str(folder)]}; change its permissions"
            )

    def find(self, names: Sequence[str]) -> tuple[Path, ...]:
        """Return the files of the first of `names` that has any, sorted; of several, the first should be used."""
        for name in (unicodedata.normalize("NFC", name) for name in names):
            if name in self._by_stem:
                return tuple(sorted(self._by_stem[name]))
        return ()

    @property
    def by_stem(self) -> Mapping[str, Sequence[Path]]:
        """All files by stem."""
        return self._by_stem


def _files(folder: Path, unreadable: dict[str, str]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        unreadable[str(error.filename)] = error.strerror or str(error)

    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=note):
        real = os.path.realpath(parent)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))
