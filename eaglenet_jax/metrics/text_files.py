"""Reading of files of text that other programs wrote: encoding, ends of lines, what stands before a table."""

from __future__ import annotations

from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.text_encoding import encoding_of


def read_text(file: Path) -> str:
    r"""Read a file as UTF-8, with or without a byte order mark, or as UTF-16; lines end with \n.

    Raises:
        UserError: It is neither.
        OSError: It cannot be read.
    """
    content = file.read_bytes()
    try:
        text = content.decode(encoding_of(content)).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8, or as .npy"
        ) from error
    return text if "\n" in text else text.replace("\r", "\n")  # of old Macs; else one inside a caption stays


def table_text(text: str) -> tuple[str, str]:
    """Separate a table from what stands before it: Excel's line `sep=;`, and comments, as numpy.savetxt writes them.

    Returns:
        (the table, its delimiter where the line named it, else "").
    """
    first, _, rest = text.partition("\n")
    delimiter = ""
    if first.startswith("sep=") and len(first) == 5:
        delimiter, text = first[4], rest
    while text.startswith("#") and "\n" in text:
        text = text.partition("\n")[2]
    return text, delimiter


def delimiter_of(line: str) -> str:
    """The delimiter of a table of text by one of its lines: tab, semicolon or comma; "" for white space."""
    counts = {each: line.count(each) for each in ("\t", ";", ",")}
    return next((each for each, count in counts.items() if count), "")
