"""What every entry point does around its work: errors for the user become one line and exit code 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from eaglenet_jax.errors import UserError


def run_command(main: Callable[[Sequence[str]], int | None]) -> None:
    """Runs main(arguments) and exits. A `UserError` is printed as one line; Ctrl-C ends without a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keeps XLA's start-up notices off the live line
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
