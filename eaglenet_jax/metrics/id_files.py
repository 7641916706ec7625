"""Reading of the lists beside a score matrix: ids of rows and columns, captions, counts of captions."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.array_files import open_array, parquet_table, split_name
from eaglenet_jax.metrics.text_files import delimiter_of, read_text, table_text

ID_COLUMNS = ("video_id", "video", "id")
CAPTION_COLUMNS = ("caption", "sentence", "text")
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".gif")
)


def read_list(path: str | Path, count: int | None = None, columns: Sequence[str] = ID_COLUMNS) -> list[Any]:
    """Read the entries of a list.

    Args:
        path: A JSON list, a one-dimensional .npy array of numbers, strings or bytes, `FILE:NAME` of a .npz, a table
            (.csv, .tsv, .parquet, JSON lines or a JSON list of objects), or any other file in UTF-8 with an entry a
            line. `FILE:COLUMN` names the column of a table.
        count: How many entries are expected, which decides whether the first row of a table is a header.
        columns: Names of columns that are taken where a table has several.

    Returns:
        The entries in order.

    Raises:
        UserError: If the file cannot be read, or is no such list.
    """
    file, column = split_name(path)
    try:
        if file.suffix == ".npy":
            return _without_name(file, column, _of_numpy(file, np.load(file, allow_pickle=False)))
        if file.suffix == ".parquet":
            table = parquet_table(file)
            return table.column(_column(file, list(table.column_names), column, columns)).to_pylist()
        if file.suffix == ".npz":
            return _of_numpy(file, open_array(path).values)
        text = read_text(file)
        if file.suffix in (".csv", ".tsv"):
            return _of_csv(file, text, column, count, columns)
        if file.suffix in (".jsonl", ".ndjson"):
            entries = [json.loads(line) for line in text.split("\n") if line.strip()]
        elif file.suffix == ".json":
            entries = json.loads(text)
        else:
            return _without_name(file, column, _lines(text, count))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{file} is not a JSON list, a .npy list or UTF-8 lines of text ({error}): write an id a line, or "
            "numpy.save with an array of type str"
        ) from error
    if not isinstance(entries, list):
        raise UserError(f"{file} holds a JSON {type(entries).__name__}: expected a list, in the order of the scores")
    if entries and all(isinstance(entry, dict) for entry in entries):
        name = _column(file, list(entries[0]), column, columns)
        without = next((number for number, entry in enumerate(entries) if name not in entry), None)
        if without is not None:
            raise UserError(f"{file}: entry {without} has no {name!r}: write each entry as the others")
        return [entry[name] for entry in entries]
    return _without_name(file, column, entries)


def relevance_from_captions(captions_per_video: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Derive relevance from caption counts, for texts in the order of their videos.

    Args:
        captions_per_video: One number for all videos ("20"), a number for each ("1,4,3"), or a file of them
            (`read_list`).
        shape: Of the scores, (Nt, Nv).

    Returns:
        text_video [Nt], the column of each text's video.

    Raises:
        UserError: If the counts are not whole numbers, or do not sum to Nt over Nv videos.
    """
    given = str(captions_per_video)
    inline = all(part.strip().isdigit() for part in given.split(","))
    entries = given.split(",") if inline else read_list(given, shape[1])
    counts = [_count(entry, given) for entry in entries]
    same = inline and len(counts) == 1
    turned = _turned((shape[1] if same else len(counts)), counts[0] * shape[0] if same else sum(counts), shape)
    if same:
        counts *= shape[1]
    if len(counts) != shape[1]:
        raise UserError(
            f"captions per video: {len(counts)} counts for {shape[1]} videos (columns): give one for each{turned}"
        )
    if min(counts) < 0 or sum(counts) != shape[0]:
        if same and counts[0] * shape[0] == shape[1]:
            turned = "; the matrix seems to be videos × texts: add --transpose"
        raise UserError(
            f"captions per video: they sum to {sum(counts)}, but the scores have {shape[0]} texts (rows){turned}"
        )
    return np.repeat(np.arange(shape[1]), counts)


def _count(entry: Any, given: str) -> int:
    """A count of captions, as a number or as text; 3.0 and "3.0" are 3."""
    try:
        if not isinstance(entry, bool) and float(entry).is_integer():
            return int(float(entry))
    except (TypeError, ValueError):
        pass
    raise UserError(f"captions per video: {given} holds {str(entry)[:40]!r}, which is not a whole number")


def relevance_from_ids(text_ids: Sequence[Any], video_ids: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """Derive relevance from the ids of rows and columns.

    An id meets another that differs from it only in Unicode composition or in the ending of a video file.

    Args:
        text_ids: Nt ids, each the id of the text's video, or that followed by # and anything ("video7020#3").
        video_ids: Nv ids, each of them once.
        shape: Of the scores, (Nt, Nv).

    Returns:
        text_video [Nt], the column of each text's video.

    Raises:
        UserError: If the counts do not fit the shape, a video's id occurs twice, or a text names no video.
    """
    texts, videos = as_ids(text_ids), as_ids(video_ids)
    if (len(texts), len(videos)) != shape:
        raise UserError(
            f"{len(texts)} text ids and {len(videos)} video ids for scores of {shape[0]} × {shape[1]}"
            f"{_turned(len(videos), len(texts), shape)}"
        )
    column = columns_of(videos)
    text_video = []
    for row, text in enumerate(texts):
        found = find_column(column, text)
        if found is None:
            raise UserError(
                f"text id {text!r} (row {row}) names no video: write the id of its video, or that followed by #number, "
                f"as the video ids have it ({videos[0]!r} is the first)"
            )
        text_video.append(found)
    return np.asarray(text_video, np.int64)


def as_ids(entries: Sequence[Any]) -> list[str]:
    """Ids as composed Unicode text without white space around them; bytes are UTF-8, and 7.0 is the number 7."""
    return [unicodedata.normalize("NFC", _text(entry)).strip() for entry in entries]


def _text(entry: Any) -> str:
    if isinstance(entry, bytes):
        return entry.decode("utf-8")
    return str(int(entry) if isinstance(entry, float) and entry.is_integer() else entry)


def columns_of(videos: Sequence[str]) -> dict[str, int]:
    """Each video's id, and that without the ending of a file where no other video has it → its column.

    Raises:
        UserError: If an id occurs twice.
    """
    column = {video: i for i, video in enumerate(videos)}
    if len(column) != len(videos):
        twice = next(video for i, video in enumerate(videos) if column[video] != i)
        raise UserError(f"video id {twice!r} occurs twice: every column needs its own")
    stems: dict[str, list[int]] = {}
    for video, i in column.items():
        stems.setdefault(without_suffix(video), []).append(i)
    return {stem: found[0] for stem, found in stems.items() if len(found) == 1} | column


def find_column(column: Mapping[str, int], text: str) -> int | None:
    """The column of the video that a text's id names, None where it names none."""
    for candidate in (text, text.rpartition("#")[0]):
        for name in (candidate, without_suffix(candidate)):
            if name in column:
                return column[name]
    return None


def without_suffix(name: str) -> str:
    """A name without the ending of a video file."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else name


def _turned(videos: int, texts: int, shape: tuple[int, int]) -> str:
    """Return the end of an error message where the counts fit the scores the other way round."""
    fits = (videos, texts) == shape and shape[0] != shape[1]
    return "; the matrix seems to be videos × texts: add --transpose" if fits else ""


def _of_numpy(file: Path, array: np.ndarray) -> list[Any]:
    if array.ndim != 1:
        raise UserError(f"{file} has shape {array.shape}: expected a list")
    entries = array.tolist()
    return [entry.decode("utf-8") if isinstance(entry, bytes) else entry for entry in entries]


def _lines(text: str, count: int | None) -> list[str]:
    # Not splitlines: a caption may hold one of the rarer characters that it takes for the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    while count is not None and len(lines) > count and not lines[-1].strip():
        lines.pop()
    return lines


def _of_csv(file: Path, text: str, column: str, count: int | None, columns: Sequence[str]) -> list[str]:
    text, named = table_text(text)
    delimiter = named or ("\t" if file.suffix == ".tsv" else delimiter_of(text.partition("\n")[0]) or ",")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    if not rows:
        return []
    narrow = all(len(row) == 1 for row in rows)
    if narrow and not column and count is not None and len(rows) == count:  # no header
        return [row[0] for row in rows]
    if narrow and not column and (count is None or len(rows) != count + 1) and rows[0][0] not in columns:
        return [row[0] for row in rows]
    position = rows[0].index(_column(file, rows[0], column, columns))
    short = next((number for number, row in enumerate(rows, 1) if len(row) <= position), None)
    if short is not None:
        raise UserError(f"{file} has no column {rows[0][position]!r} in row {short}: write the row as the others")
    return [row[position] for row in rows[1:]]


def _column(file: Path, names: Sequence[str], wanted: str, columns: Sequence[str]) -> str:
    """The name of the wanted column of a table, or of the only one that fits."""
    if wanted:
        if wanted not in names:
            raise UserError(f"{file} has no column {wanted!r}; it has {', '.join(names)}")
        return wanted
    fitting = [name for name in columns if name in names] or list(names)
    if len(names) > 1 and len(fitting) > 1 and fitting[0] not in columns:
        raise UserError(f"{file} has the columns {', '.join(names)}: name one, as {file}:{names[0]}")
    return fitting[0]


def _without_name(file: Path, column: str, entries: list[Any]) -> list[Any]:
    if column:
        raise UserError(f"{file}:{column}: a file of this kind is one list; leave out :{column}")
    return entries
