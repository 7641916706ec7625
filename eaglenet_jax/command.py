"""What every entry point does around its work: errors for the user become one line and exit code 1."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from eaglenet_jax.errors import Stopped, UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a `UserError`: one line, with the nearest flag where one was misspelt."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        raise UserError(f"{message}{self._hint(sys.argv[1:])}; --help lists the arguments")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, but a flag that is neither known nor a field of the config is an error."""
        found, rest = super().parse_known_args(args, namespace)
        for word in rest:
            if not word.startswith("--config."):
                raise UserError(f"unknown argument {word!r}{self._hint([word])}; --help lists the arguments")
        return found, rest

    def _hint(self, words: Sequence[str]) -> str:
        known = [flag for action in self._actions for flag in action.option_strings]
        for word in words:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in known and not flag.startswith("--config."):
                close = difflib.get_close_matches(flag, known, n=1)
                return f", did you mean {close[0]}?" if close else ""
        return ""


def run_command(main: Callable[[Sequence[str]], int | None]) -> None:
    """Runs main(arguments) and exits. A `UserError` is printed as one line; Ctrl-C ends without a traceback, and a run
    that was told to stop and has saved ends with the signal's exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keeps XLA's start-up notices off the live line
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.number)
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
