"""Coroutines run by a test, also after a browser of the same process left its event loop running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that runs in a thread of its own.

    Playwright's synchronous interface keeps the loop of its thread running until the session ends, and `asyncio.run`
    refuses a thread with a running loop.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
