"""Reading of the rows of any table: CSV, TSV, JSON, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.readers.files import check_width, read_text, wrong_form
from eaglenet_jax.errors import UserError, first_line

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
JSON_FORM = 'a list of rows {"video": …, "caption": …}, columns of equal length, video → captions, or split → rows'

# Names of columns that are understood without being told; the first that is there is taken.
VIDEO_NAMES = ("video", "video_id", "file", "file_name", "filename", "video_path", "path")
CAPTION_NAMES = ("caption", "captions", "text", "sentence", "description")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

Row = Mapping[str, Any]


def read_rows(path: Path) -> dict[int, Row]:
    """Read a table.

    Args:
        path: Of the file; its suffix says what it is.

    Returns:
        Its rows by their numbers, as mappings of column → value. The rows of a file of text are counted from 1, with
        the header and all that is blank. CSV and TSV have texts only, "" for an empty cell.

    Raises:
        UserError: There is no such file, or it is damaged, or of another form.
    """
    if not path.is_file():
        raise UserError(f"no table at {path}; give the file of videos and captions with --annotations")
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        raise UserError(f"{path} is an Excel workbook or another archive; save its table as CSV")
    if start == b"PAR1":
        suffix = ".parquet"
    if suffix in (".csv", ".tsv", ".txt"):
        rows = _of_csv(path, "\t" if suffix == ".tsv" else "")
    elif suffix in (".jsonl", ".ndjson"):
        rows = _of_lines(path)
    elif suffix == ".json":
        rows = _of_lines(path) if _holds_lines(path) else dict(enumerate(_of_json(path, _json(path)), 1))
    elif suffix == ".parquet":
        rows = dict(enumerate(_of_parquet(path), 1))
    else:
        raise UserError(f"{path}: files ending in {suffix!r} are not read; give one of {', '.join(SUFFIXES)}")
    if not rows:
        raise UserError(f"{path} has no row; expected a row for each caption, with a video and a caption")
    return rows


def _of_csv(path: Path, delimiter: str) -> dict[int, Row]:
    text, before = read_text(path), 0
    first, _, rest = text.partition("\n")
    if first.startswith("sep=") and len(first) == 5:  # for Excel
        delimiter, text, before = first[4], rest, 1
    # In the order of how seldom they are part of a name.
    delimiter = delimiter or max("\t;,|", key=text.lstrip("\n").partition("\n")[0].count)
    # Not strict, a quote that is not closed takes all rows after it into one cell.
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    lists, line = {}, before
    try:
        for number, cells in enumerate(reader, 1 + before):
            line = before + reader.line_num
            if any(cell.strip() for cell in cells):  # spreadsheets write rows of delimiters alone
                lists[number] = cells
    except csv.Error as error:
        raise UserError(
            f"{path} cannot be read as a table ({error}, in the row after line {line}): close quotes, "
            "and double those inside quoted text"
        ) from error
    header = lists.pop(min(lists), []) if lists else []
    rows: dict[int, Row] = {number: _named(header, cells) for number, cells in lists.items()}
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f"{path} has several columns {', '.join(map(repr, twice))}; give each a name of its own")
    check_width(path, rows, header)
    return rows


def _named(header: list[str], cells: list[str]) -> dict[Any, Any]:
    """Cells by their columns, as csv.DictReader has them: None for what is missing, and under None what is too much."""
    row: dict[Any, Any] = dict(itertools.zip_longest(header, cells[: len(header)]))
    return row | {None: cells[len(header) :]} if len(cells) > len(header) else row


def _of_lines(path: Path) -> dict[int, Row]:
    lines = enumerate(read_text(path).split("\n"), 1)
    return {number: _object(path, number, line) for number, line in lines if line.strip()}


def _holds_lines(path: Path) -> bool:
    """Whether a file has an object on each of its lines, and so several, whatever its name."""
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    return len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)


def _object(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except ValueError as error:
        raise UserError(f"{path}: line {number} is not JSON ({error}); write a row {{…}} on each line") from error
    if not isinstance(row, dict):
        raise UserError(f"{path}: line {number} is a JSON {type(row).__name__}; write a row {{…}} on each line")
    return row


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path), object_pairs_hook=_once)
    except ValueError as error:
        raise UserError(f"{path} is not JSON that can be read ({error}); write it again") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which Python would keep the last of two values of one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"{twice!r} stands in it twice: give all values of one name in a list")
    return found


def _of_json(path: Path, content: Any) -> list[Row]:
    if isinstance(content, list):
        if not all(isinstance(row, dict) for row in content):
            raise wrong_form(path, JSON_FORM, TypeError("a row is no object"))
        return content
    if not isinstance(content, dict) or not content:
        raise wrong_form(path, JSON_FORM, TypeError(f"it is a {type(content).__name__}"))
    values = list(content.values())
    inner = {name: value for name, value in content.items() if isinstance(value, list) and _holds_rows(value)}
    named = _named_rows(content) if len(inner) == len(content) > 1 else []
    if named:
        return named
    if len(inner) > 1:
        raise wrong_form(path, JSON_FORM, TypeError(f"it has several lists of rows, {', '.join(inner)}"))
    if inner:  # {"annotations": [rows]}
        return _of_json(path, *inner.values())
    if all(isinstance(value, dict) for value in values):  # pandas: column → index → value
        keys = list(values[0])
        if {key.lower() for key in keys} & set(CAPTION_NAMES):  # {video: {"caption": …}}
            return [{"video": video, **value} for video, value in content.items()]
        if all(list(value) == keys for value in values):
            return [{name: column[key] for name, column in content.items()} for key in keys]
    if len(values) > 1 and all(isinstance(value, list) for value in values) and {"video", "caption"} & set(content):
        if len(set(map(len, values))) != 1:
            raise wrong_form(path, JSON_FORM, ValueError("its columns have different lengths"))
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    return [{"video": video, "caption": captions} for video, captions in content.items()]


def _named_rows(content: dict[str, list[Any]]) -> list[Row]:
    """The rows of lists that are called train, val and test, or by their videos; none where the lists are others."""
    rows = [(name, row) for name, each in content.items() for row in each if isinstance(row, dict)]
    there = {name.lower() for _, row in rows for name in row}
    kind, taken = ("split", {"split"}) if all(name.lower() in SPLITS for name in content) else ("video", {*VIDEO_NAMES})
    whole = len(rows) == sum(map(len, content.values())) and (kind == "split" or there & {*CAPTION_NAMES})
    return [{kind: name, **row} for name, row in rows] if whole and not there & taken else []


def _holds_rows(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict)


def _of_parquet(path: Path) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or no Parquet file ({first_line(error)})") from error
