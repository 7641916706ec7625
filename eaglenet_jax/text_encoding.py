"""Encoding of text files that other programs wrote."""

from __future__ import annotations

import codecs

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding_of(content: bytes) -> str:
    """Name the encoding of a text file: UTF-16 by its byte order mark or by its zero bytes, else UTF-8."""
    if content.startswith(UTF16_MARKS):
        return "utf-16"
    start = content[:64]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 3 and not any(start[first::2]) and all(start[1 - first :: 2]):  # all of them ASCII
            return encoding
    return "utf-8-sig"
