"""Checks of single values of annotation files: a caption is text, a time is a number of seconds, a video has a name."""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from eaglenet_jax.errors import UserError, listed

SHOWN = 3  # bad cells that an error names
# What programs write for a value that is missing.
NO_VALUE = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "#n/a", "nil"))
NO_VALUE |= {"#name?", "#ref!", "#value!", "#div/0!", "#num!", "#null!"}  # of a formula that failed
PRINTED_LIST = re.compile(r"""(?<=['"])\s+(?=['"])""")  # between the texts of an array that NumPy printed


class BadCell(ValueError):
    """Report a value that is not what its column needs; the message says what it is."""


def text_cell(value: Any) -> str:
    """Return a caption as composed Unicode text.

    Raises:
        BadCell: It is no text, has no word, or is the name of a missing value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise BadCell("no value")
    if isinstance(value, bytes):  # text as Parquet files of some programs have it
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadCell("bytes that are no UTF-8 text") from error
    if not isinstance(value, str):
        raise BadCell(f"{str(value)[:30]}, no text but {type(value).__name__}")
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise BadCell("no word")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadCell(f"{value[:30]!r}, which holds half a character or none")
    if value.strip().lower() in NO_VALUE:
        raise BadCell(f"{value.strip()!r}, which programs write for a missing value")
    return unicodedata.normalize("NFC", value)


def text_cells(value: Any) -> list[str]:
    """Return the captions of a cell that holds one, a list, or a list as Python or JSON writes it.

    Raises:
        BadCell: As `text_cell`, or the list is empty, or the caption is a number.
    """
    if isinstance(value, str) and value.strip()[:1] + value.strip()[-1:] in ("[]", "{}"):
        if PRINTED_LIST.search(value):
            raise BadCell(f"{value.strip()[:30]}, a list without commas; write it with .tolist()")
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError) as error:
            if value.strip().startswith(("['", '["')):
                raise BadCell(f"a list that cannot be read, {str(value)[:30]}") from error
    if isinstance(value, list | tuple):
        if not value:
            raise BadCell("an empty list")
        return [_caption(each) for each in value]
    return [_caption(value)]


def _caption(value: Any) -> str:
    text = text_cell(value).strip()
    try:
        float(text)
    except ValueError:
        return text
    raise BadCell(f"{text[:30]!r}, a number")


def name_cell(value: Any) -> str:
    """Return the name of a video, split or row as composed Unicode text; whole numbers are names, too.

    Raises:
        BadCell: It is none.
    """
    if isinstance(value, dict) and isinstance(value.get("path"), str):  # a video of a Hugging Face dataset
        value = value["path"]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_cell(value).strip()


def seconds_cell(value: Any) -> float | None:
    """Return a time in seconds, of a number or "mm:ss" or "hh:mm:ss"; None for a cell without a value.

    Raises:
        BadCell: It is none, or below 0.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    if not text or text.lower() in NO_VALUE:
        return None
    try:
        # In some countries a comma stands before the decimals.
        parts = [float(part.replace(",", ".") if "." not in part else part) for part in text.split(":")]
    except ValueError as error:
        raise BadCell(f"{text[:30]!r}, which is no time") from error
    seconds = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    carried = any(part >= 60 for part in parts[1:]) or not all(map(float.is_integer, parts[:-1]))  # 1:75, 1.5:00
    if isinstance(value, bool) or len(parts) > 3 or carried or not 0 <= seconds < math.inf:
        raise BadCell(f"{text[:30]!r}, which is no time")
    return seconds


class CellFaults:
    """Collector of bad cells, which become one error."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self._found: list[str] = []

    def add(self, where: str, column: str, error: BadCell) -> None:
        """Record that `column` is wrong at `where`, as "row 7"."""
        self._found.append(f"{column} of {where} is {error}")

    def check(self) -> None:
        """Raise UserError if anything was recorded."""
        if self._found:
            shown = listed(self._found, SHOWN, "; ")
            raise UserError(f"{self.file}: {shown}. Write these cells, or remove their rows")

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)
