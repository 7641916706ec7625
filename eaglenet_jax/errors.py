"""The one error that is meant for the user's eyes."""


class UserError(Exception):
    """Bad input. The message is one line: what was wrong, where, and what to do. Entry points print it and exit 1."""
