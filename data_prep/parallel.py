"""Map over many jobs in spawned processes, with a progress bar."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from eaglenet_jax.spawning import end_with_parent, main_module_hidden

Job = TypeVar("Job")
Result = TypeVar("Result")
# For fewer jobs, starting processes costs more than it saves.
MIN_JOBS_FOR_PROCESSES = 16


def map_in_processes(
    task: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int | None,
    title: str,
    progress: bool,
    is_failure: Callable[[Result], bool] = lambda result: False,
) -> Iterator[Result]:
    """Yield `task(job)` in the order of completion; the bar shows done of total, failures and the time left.

    Processes are spawned, since forking a process that runs JAX can hang.

    Args:
        task: An importable function (no lambda), or a functools.partial of one.
        jobs: Its arguments.
        workers: Number of processes, by default one a core.
        title: Label of the bar.
        progress: Show the bar.
        is_failure: Whether a result counts as a failure in the bar.

    Raises:
        ValueError: `task` belongs to the main module.
        concurrent.futures.process.BrokenProcessPool: A worker died.
    """
    function = getattr(task, "func", task)  # of a functools.partial
    if getattr(function, "__module__", "") == "__main__":
        raise ValueError(f"{function} belongs to the main module; move it into a module that processes can import")
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with contextlib.ExitStack() as stack:
        results: Iterator[Result]
        if len(jobs) < MIN_JOBS_FOR_PROCESSES or workers == 1:
            results = map(task, jobs)
        else:
            results = stack.enter_context(_results_of_pool(task, jobs, workers))
        bar = stack.enter_context(
            Progress(*columns, console=Console(force_jupyter=False), disable=not progress or not jobs)
        )
        line = bar.add_task(title, total=len(jobs), failures="")
        failures = 0
        for result in results:
            failures += is_failure(result)
            bar.update(line, advance=1, failures=f"[red]{failures} failed" if failures else "")
            yield result


@contextlib.contextmanager
def _results_of_pool(task: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Iterator[Result]]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    try:
        with main_module_hidden():
            futures = [pool.submit(task, job) for job in jobs]
        yield (future.result() for future in as_completed(futures))
    finally:
        pool.shutdown(cancel_futures=True)
