"""Exceptions that entry points print as one line instead of a traceback."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """Report bad input.

    The message is one line: what was wrong, where, and what to do. Entry points print it and exit with code 1.
    """


class Stopped(Exception):
    """Report that a run was asked to stop and has saved its state.

    Entry points print the message and exit with code 128 + signal.

    Args:
        message: One line: what was saved, and how to continue.
        number: The signal that asked for it.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.number = number


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty, the name of its type where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is nearest to a misspelt one, "" where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a question for the known name that is nearest to a misspelt one, `otherwise` where none is near."""
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else otherwise


def near_path(path: Path, others: Iterable[str] = (), *, folders: bool = False) -> str:
    """Return a question for the nearest path in the folder of one that is not there, after "; ".

    Args:
        path: What was given.
        others: Names that could be meant besides.
        folders: Whether a folder was meant, so that files are left out.

    Returns:
        For example "; did you mean 'runs/demo'?"; "" if the path is there, or no name is near.
    """
    try:
        here = [] if path.exists() else [one.name for one in path.parent.iterdir() if one.is_dir() or not folders]
    except OSError:  # there is no such folder, or it cannot be read
        here = []
    near = nearest(path.name, [*here, *others])
    return f"; did you mean {str(path.parent / near)!r}?" if near and near != path.name else ""


def listed(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Join the first items of a list, with the number of those left out."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
