"""Several processes of this machine that index files together; one that dies is replaced, and its files are taken."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection, wait
from pathlib import Path

from eaglenet_jax.compilation_cache import keep_compiled_programs
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.indexing import Report, Tally, ToDo, index_files
from eaglenet_jax.search.model import open_model_of
from eaglenet_jax.search.store import Store
from eaglenet_jax.spawning import end_with_parent, main_module_hidden

MOST_DEATHS = 10  # of processes, which are replaced up to then
END_SECONDS = 60.0  # for a process to commit what it has finished, when it is stopped


def index_in_processes(store: Store, checkpoint: str, todo: ToDo, report: Report) -> None:
    """Index files in `todo.sharers` processes.

    Args:
        store: The index.
        checkpoint: Where each process opens the model.
        todo: The files.
        report: Receives what happens.

    Raises:
        UserError: A process cannot work, or too many have died.
    """
    running: dict[Connection, multiprocessing.process.BaseProcess] = {}
    heard: set[Connection] = set()
    deaths, done = 0, False
    try:
        for _ in range(todo.sharers):
            running |= [_start(store.uri, checkpoint, todo)]
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                try:
                    name, arguments = connection.recv()
                except (EOFError, OSError):
                    process = running.pop(connection)
                    process.join()
                    if process.exitcode == 0:  # all files are done, so one that is still loading the model has no work
                        done = True
                        for idle in [running[each] for each in running if each not in heard]:
                            idle.terminate()
                    elif not done:
                        deaths += 1
                        report.say(f"a process {_ending(process.exitcode)}; others take its files")
                        if deaths > MOST_DEATHS:
                            raise UserError(
                                f"{deaths} processes ended unexpectedly, as for lack of memory; run again with fewer"
                                " --workers to index the rest"
                            ) from None
                        running |= [_start(store.uri, checkpoint, todo)]
                else:
                    heard.add(connection)
                    if name == "error":
                        raise UserError(arguments[0])
                    if name == "settled" and arguments[0].finished:
                        deaths = 0  # there is progress, and no file ends more than three processes
                    getattr(report, name)(*arguments)
    finally:
        for process in running.values():
            process.terminate()
        for connection, process in running.items():
            _listen_to_the_end(connection, report)
            process.join(END_SECONDS)


def _ending(code: int | None) -> str:
    """Say how a process ended, by its exit code."""
    return f"was killed (signal {-code})" if code is not None and code < 0 else f"ended unexpectedly (exit code {code})"


def _listen_to_the_end(connection: Connection, report: Report) -> None:
    """Read what a process sends while it ends; without a reader it would wait."""
    with contextlib.suppress(EOFError, OSError):
        while connection.poll(END_SECONDS):
            name, arguments = connection.recv()
            if name == "settled":
                report.settled(*arguments)


def _start(uri: str, checkpoint: str, todo: ToDo) -> tuple[Connection, multiprocessing.process.BaseProcess]:
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs JAX can hang
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sending, uri, checkpoint, todo), daemon=True)
    with main_module_hidden():
        process.start()
    sending.close()  # here; so the end of the process ends the connection
    return receiving, process


def _work(connection: Connection, uri: str, checkpoint: str, todo: ToDo) -> None:
    """Index files and report to the parent."""
    end_with_parent(_ask_to_end)  # so that it commits first, as where the parent ends it for Ctrl-C
    report = _Sent(connection)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        keep_compiled_programs()
        store = Store.open(uri)
        index_files(store, open_model_of(store.settings, uri, checkpoint), todo, report)
    except UserError as error:
        report.error(str(error))
    except KeyboardInterrupt:  # asked to end; what was finished is in the index
        sys.exit(130)
    except Exception as error:  # an error of every process, as too little memory on a GPU; a new one would meet it too
        reason = next(iter(str(error).strip().splitlines()), "")
        report.error(f"a process failed: {type(error).__name__}: {reason}")


def _ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@dataclasses.dataclass(frozen=True)
class _Sent:
    """A report that is sent to the parent."""

    connection: Connection

    def _send(self, name: str, *arguments: object) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which ends this process as well
            self.connection.send((name, arguments))

    def reached(self, file: Path, share: float, seconds: float) -> None:
        self._send("reached", file, share, seconds)

    def finished(self, file: Path, trouble: str | None) -> None:
        self._send("finished", file, trouble)

    def trouble(self, file: Path, what: str) -> None:
        self._send("trouble", file, what)

    def settled(self, tally: Tally) -> None:
        self._send("settled", tally)

    def say(self, line: str) -> None:
        self._send("say", line)

    def error(self, message: str) -> None:
        self._send("error", message)
