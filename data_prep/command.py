"""Runner of this package's commands: bad input gives one line and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from eaglenet_jax.errors import UserError


def run_command(main: Callable[[Sequence[str]], int]) -> None:
    """Exit with the result of main(arguments); print a `UserError` or an error of the system as one line."""
    try:
        code = main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted; run again to continue", file=sys.stderr)
        code = 130
    sys.exit(code)
