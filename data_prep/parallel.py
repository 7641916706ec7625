"""One function over many jobs in spawned processes, with a progress bar."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Job = TypeVar("Job")
Result = TypeVar("Result")
# Below this, starting processes costs more than it saves.
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
    """Yields `task(job)` in any order. `workers` defaults to the cores; processes are spawned (forking with JAX can hang)."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]}"),
        TimeRemainingColumn(),
    )
    with contextlib.ExitStack() as stack:
        if len(jobs) < MIN_JOBS_FOR_PROCESSES or workers == 1:
            results = map(task, jobs)
        else:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers))
            results = pool.imap_unordered(task, jobs, chunksize=4)
        bar = stack.enter_context(Progress(*columns, disable=not progress or not jobs))
        line = bar.add_task(title, total=len(jobs), failures="")
        failures = 0
        for result in results:
            failures += is_failure(result)
            bar.update(line, advance=1, failures=f"[red]{failures} failed" if failures else "")
            yield result
