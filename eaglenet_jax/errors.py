"""Exceptions that entry points print as one line instead of a traceback."""

from __future__ import annotations

import signal
from collections.abc import Sequence


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


def listed(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Join the first items of a list, with the number of those left out."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
