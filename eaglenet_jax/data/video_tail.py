"""End of a video file: an index after the last packet belongs to it, a second file put behind it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MOST_PARTS = 200_000  # that are looked at; a day in fragments of a second has fewer
NEAR = 64  # bytes of headers and padding that may lie between the last packet and the index
AVI_INDEX, AVI_PARTS = b"idx1", (b"idx1", b"JUNK")
CUES = bytes.fromhex("1C53BB6B")
# Also seek head, tags, chapters and attachments; and padding, whose identifier has one byte.
MATROSKA_PARTS = (CUES, *(bytes.fromhex(part) for part in ("114D9B74", "1254C367", "1043A770", "1941A469")))
VOID = b"\xec"
ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")


def end_of_file(path: Path, position: int, format_name: str) -> int:
    """Return the byte at which a video file ends, which is less than its size if another one follows.

    Args:
        path: The file.
        position: Byte at which its last packet ends: the result where nothing is known of the container.
        format_name: FFmpeg's name of the container.
    """
    with path.open("rb") as file:
        if "mov" in format_name:
            # A single second "moov" may be what an editor left behind.
            return (_second(file, _box, b"moov") and _second(file, _box, b"ftyp")) or path.stat().st_size
        if format_name == "asf":
            return _second(file, _asf_object, ASF_HEADER) or path.stat().st_size
        if format_name == "avi":
            return _after(file, position, AVI_INDEX, _avi_chunk)
        return _after(file, position, CUES, _matroska_element) if "matroska" in format_name else position


def _second(file: BinaryIO, part: Callable[[BinaryIO, int], tuple[bytes, int]], wanted: bytes) -> int:
    """Return the byte of the second part of a name, which a file has once, in a walk from its start; 0 without."""
    position, seen = 0, False
    for _ in range(MOST_PARTS):
        name, size = part(file, position)
        if not size:
            return 0
        if name == wanted and seen:
            return position
        seen |= name == wanted
        position += size
    return 0


def _after(file: BinaryIO, position: int, index: bytes, size_of: Callable[[BinaryIO, int], int]) -> int:
    """Return the byte after an index near `position` and the parts that may follow it; `position` without one."""
    file.seek(position)
    start = file.read(NEAR).find(index)
    if start < 0:
        return position
    end = position + start
    while size := size_of(file, end):
        end += size
    return end


def _box(file: BinaryIO, position: int) -> tuple[bytes, int]:
    """Return name and length in bytes of a box of an MP4 or QuickTime file; length 0 of the last one, or of none."""
    head = _read(file, position, 16)
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:], "big")
    return head[4:8], size if size >= 8 else 0


def _asf_object(file: BinaryIO, position: int) -> tuple[bytes, int]:
    """Return name and length in bytes of an object of a Windows Media file; length 0 of none."""
    head = _read(file, position, 24)
    size = int.from_bytes(head[16:], "little")
    return head[:16], size if size >= 24 else 0


def _avi_chunk(file: BinaryIO, position: int) -> int:
    """Return the length of a chunk of an AVI file in bytes, 0 of one that is not known."""
    head = _read(file, position, 8)
    if head[:4] not in AVI_PARTS or len(head) < 8:
        return 0
    size = int.from_bytes(head[4:], "little")
    return 8 + size + size % 2


def _matroska_element(file: BinaryIO, position: int) -> int:
    """Return the length of an element of a Matroska file in bytes, 0 of one that is not known."""
    head = _read(file, position, 12)
    name = head[:1] if head[:1] == VOID else head[:4]
    if (name not in MATROSKA_PARTS and name != VOID) or len(head) <= len(name):
        return 0
    # A size has as many bytes as its first one has leading zeros, and one; the bit after the zeros is none of it.
    width = 9 - head[len(name)].bit_length()
    digits = head[len(name) : len(name) + width]
    if width > 8 or len(digits) < width:
        return 0
    return len(name) + width + (int.from_bytes(digits, "big") & ((1 << 7 * width) - 1))


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
