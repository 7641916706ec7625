"""Connection to LanceDB, on disk or in an object store, and its errors as one line."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from eaglenet_jax.errors import UserError, first_line

TRIES = 20  # to open or create a table that another process is creating, some seconds in all


def connect(uri: str) -> Any:
    """Return the connection to a folder or URI. Every read includes what other processes have committed before it."""
    try:
        import lancedb
    except ImportError as error:
        raise UserError("searching needs LanceDB: pip install 'eaglenet_jax[search]'") from error
    # Keys, region and endpoint of an object store are read from the environment: AWS_ACCESS_KEY_ID and so on.
    return lancedb.connect(uri, read_consistency_interval=timedelta(0))


def tables(connection: Any) -> list[str]:
    """Return the names of the tables."""
    return list(connection.list_tables().tables)


def opened(connection: Any, name: str) -> Any:
    """Return a table; None if there is none.

    While another process creates it, its folder can be seen before its first version is there (ValueError, not found).
    """
    return _patiently(lambda: connection.open_table(name) if name in tables(connection) else None)


def opened_or_created(connection: Any, name: str, schema: Any) -> Any:
    """Return a table, created with the schema if there is none.

    Of processes that create it at once, one succeeds. The others may see its folder too early, as in `opened`, or lose
    the commit of the first version (RuntimeError): each tries again.
    """

    def attempt() -> Any:
        found = name in tables(connection)
        return connection.open_table(name) if found else connection.create_table(name, schema=schema)

    return _patiently(attempt)


def _patiently(attempt: Callable[[], Any]) -> Any:
    """Return the result of an attempt, which is made again while another process creates the same table."""
    tried = 0
    while True:
        try:
            return attempt()
        except (ValueError, RuntimeError) as error:
            tried += 1
            if tried == TRIES or not re.search("not found|already exists|conflict", str(error), re.IGNORECASE):
                raise
            time.sleep(random.uniform(0.05, 0.3))


@contextlib.contextmanager
def reported(uri: str) -> Iterator[None]:
    """Convert the errors of LanceDB's layers to a one-line UserError that names the index."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"the index {uri} cannot be used: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the first line of an error."""
    return re.sub(r", \S+\.rs:\d+:\d+$", "", first_line(error))[:300]  # without the line of LanceDB's own source
