"""Words of messages that depend on a number."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun, "1 video" or "1,200 videos"; several: the plural where it is not `one` and s.

    A verb may follow the noun: `counted(len(missing), "video is", "videos are")`.
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"
