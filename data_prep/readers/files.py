"""Access to annotation files: search by name, errors that state the expected format, collection into splits."""

from __future__ import annotations

import collections
import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations import Annotations, CaptionedVideo, require_folder
from eaglenet_jax.errors import UserError
from eaglenet_jax.text_encoding import encoding_of


def find(folder: Path, *names: str) -> Path | None:
    """Return the first of `names` that is in `folder`, else the first that is anywhere below it, else None."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    for name in names:
        below = sorted(path for path in folder.rglob(name) if path.is_file())
        if below:
            return below[0]
    return None


def read_text(path: Path) -> str:
    """Read a file as UTF-8, without a byte order mark, with composed characters (NFC), so that ids meet each other.

    A file in UTF-16, as Excel's "Unicode Text" is, is read as that.

    Raises:
        UserError: It is neither.
    """
    content = path.read_bytes()
    try:
        text = content.decode(encoding_of(content)).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8, or download it again"
        ) from error
    return unicodedata.normalize("NFC", text)


def read_lines(path: Path) -> list[str]:
    """Read the lines that are not blank, without surrounding white space."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_json(path: Path) -> Any:
    """Read the content of a JSON file.

    Raises:
        UserError: It is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); download it again") from error


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Raises:
        UserError: A column or one of its cells is missing.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    rows = list(reader)
    check_width(path, dict(enumerate(rows, 2)), reader.fieldnames or ())
    for number, row in enumerate(rows or [{}], 1):
        for name in columns:
            if row.get(name) is None:
                raise wrong_form(path, f"a CSV table with {', '.join(columns)}", KeyError(f"{name} in row {number}"))
    return rows


def check_width(path: Path, rows: Mapping[int, Mapping[Any, Any]], header: Sequence[str]) -> None:
    """Raise UserError for a row of another length than the header, as a comma without quotes makes it.

    rows: by their numbers in the file.
    """
    for number, row in rows.items():
        if None in row or None in row.values():
            length = len(header) + len(row[None]) if None in row else sum(cell is not None for cell in row.values())
            raise UserError(
                f"{path}: row {number} has {length} cells, the header {len(header)}: put text that holds the delimiter "
                "in quotes, or complete the row"
            )


def wrong_form(path: Path, expected: str, error: Exception) -> UserError:
    """Build the error for a file that parses but has another structure than expected."""
    return UserError(f"{path} is not in the expected form ({type(error).__name__}: {error}); expected {expected}")


class Gathering:
    """Collector of splits and of notes about them, which makes `Annotations`."""

    def __init__(self, folder: Path) -> None:
        require_folder(folder, "annotation")
        self.folder = folder
        self.facts: dict[str, int] = {}
        self._files: list[Path] = []
        self._splits: dict[str, tuple[CaptionedVideo, ...]] = {}
        self._absent: dict[str, str] = {}
        self._repeated: dict[str, tuple[str, ...]] = {}
        self._wordless: list[str] = []

    def find(self, split: str, *names: str) -> Path | None:
        """Find the first file of these names; if there is none, record that `split` lacks it."""
        path = find(self.folder, *names)
        if path is None:
            self.lacks(split, " or ".join(names))
        else:
            self.note_file(path)
        return path

    def lacks(self, split: str, names: str) -> None:
        """Record that `split` lacks a file with one of `names`."""
        self._absent[split] = ", ".join(filter(None, [self._absent.get(split), names]))

    def note_file(self, path: Path) -> None:
        """Record a file as read."""
        if path not in self._files:
            self._files.append(path)

    def add(self, split: str, videos: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        """Add a split from (video id, captions as (caption id, text)) in order."""
        kept: dict[str, CaptionedVideo] = {}
        repeated: collections.Counter[str] = collections.Counter()
        for video_id, captions in videos:
            if video_id in kept:
                repeated[video_id] += 1
                continue
            for name, text in captions:
                if not isinstance(text, str):
                    raise UserError(
                        f"{self.folder}: caption {name} of video {video_id} is {text!r}, which is no text; correct it"
                    )
            self._wordless += [caption_id for caption_id, text in captions if not text.split()]
            kept[video_id] = CaptionedVideo(video_id, tuple((name, text) for name, text in captions if text.split()))
        self._splits[split] = tuple(kept.values())
        if repeated:
            self._repeated[split] = tuple(repeated)

    def add_listed(self, split: str, ids: Iterable[str], captions: Mapping[str, Sequence[str]]) -> None:
        """Add a split from its list of ids and the texts of each; caption ids are numbered."""
        self.add(split, ((name, numbered(name, captions.get(name, ()))) for name in ids))

    def annotations(self) -> Annotations:
        """Return everything that was collected.

        Raises:
            UserError: There is no split.
        """
        if not self._splits:
            lacking = "; ".join(f"{split}: {names}" for split, names in self._absent.items())
            raise UserError(f"{self.folder} has none of this dataset's annotation files ({lacking}); check the path")
        return Annotations(
            splits=self._splits,
            files=tuple(self._files),
            absent=self._absent,
            repeated=self._repeated,
            wordless=tuple(self._wordless),
            facts=self.facts,
        )


def numbered(video_id: str, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Give captions the ids `{video_id}#0`, `#1`, …"""
    return tuple((f"{video_id}#{position}", text) for position, text in enumerate(texts))
