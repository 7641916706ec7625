"""Words of messages that depend on a number, durations in words, and what makes two captions the same."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun, "1 video" or "1,200 videos"; several: the plural where it is not `one` and s.

    A verb may follow the noun: `counted(len(missing), "video is", "videos are")`.
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def spoken_time(seconds: float) -> str:
    """A duration to one or two units, as "3 h 20 min"."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.0f} days"


def caption_key(text: str) -> str:
    """Return what captions share that differ only in case and white space: no system can distinguish them."""
    return " ".join(text.split()).casefold()
