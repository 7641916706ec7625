"""Timing of several implementations in one run, and the compiler's cost analysis of a program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Measure seconds of each function in each round. Every round runs all in turn, after one untimed call.

    So a temporary load of the machine affects all alike; compare medians. A function must return when its result is
    ready, not when it is dispatched. What is being done is written to standard error.
    """
    for name, function in functions.items():
        announce(f"compiling: {name}")
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(1, rounds + 1):
        announce(f"round {number} of {rounds}: {', '.join(functions)}")
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def announce(text: str) -> None:
    """Write a line of progress to standard error, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def at_once(functions: Mapping[str, Callable[[], Any]], workers: int = 8) -> dict[str, Any]:
    """Call functions in threads side by side and return what each returned: for programs that take long to compile.

    What jax sets by context managers belongs to a thread, so each function sets it for itself.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = {name: pool.submit(function) for name, function in functions.items()}
        return {name: future.result() for name, future in futures.items()}


def median(values: list[float]) -> float:
    """Return the median."""
    return float(np.median(values))


def median_seconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of a function that returns when its result is ready, after an untimed call."""
    function()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return median(found)


def machine() -> dict[str, Any]:
    """Describe the machine and its load average of the last minute, which includes this process."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "jax": jax.__version__,
    }


def compiled_flops(compiled: Any) -> float:
    """Return the floating-point operations of a compiled program by the compiler's cost analysis.

    Raises ValueError if it has a loop, whose body would be counted once, or a custom call, which would count nothing.
    """
    text = compiled.as_text()
    for hidden in (" while(", " custom-call("):
        if hidden in text:
            raise ValueError(f"the compiled program has a{hidden.rstrip('(')}: its operations cannot be counted")
    return float(compiled.cost_analysis()["flops"])
