"""What a run says to its user instead of a traceback."""

from __future__ import annotations

import signal


class UserError(Exception):
    """Bad input. The message is one line: what was wrong, where, and what to do. Entry points print it and exit 1."""


class Stopped(Exception):
    """A run was asked to stop and has saved its state. Entry points print the message and exit with 128 + signal."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.number = number
