"""Creation of one table by several processes at once."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from eaglenet_jax.search import lance
from eaglenet_jax.search.claim_table import Claim, ClaimTable

pytestmark = pytest.mark.search


class Contended:
    """A connection to an index in which another process creates the table, with the given errors on our way."""

    def __init__(self, *ways: tuple[bool, Exception | None]) -> None:
        self._ways, self.tried = list(ways), []

    def list_tables(self) -> SimpleNamespace:
        self._listed, self._error = self._ways.pop(0)
        return SimpleNamespace(tables=["claims"] if self._listed else [])

    def open_table(self, name: str) -> str:
        return self._attempt(f"opened {name}")

    def create_table(self, name: str, schema: object) -> str:
        return self._attempt(f"created {name}")

    def _attempt(self, what: str) -> str:
        self.tried.append(what)
        if self._error:
            raise self._error
        return what


def test_table_that_another_process_creates_is_opened(monkeypatch):
    monkeypatch.setattr(lance.time, "sleep", lambda _: None)
    connection = Contended(
        (False, RuntimeError("Retryable commit conflict for version 2")),
        (False, ValueError("Table 'claims' already exists")),
        (True, ValueError("Table 'claims' was not found")),  # its folder is there, its first version is not
        (True, None),
    )
    assert lance.opened_or_created(connection, "claims", None) == "opened claims"
    assert connection.tried == ["created claims"] * 2 + ["opened claims"] * 2


def test_other_errors_and_endless_conflicts_are_raised(monkeypatch):
    monkeypatch.setattr(lance.time, "sleep", lambda _: None)
    denied = Contended((False, RuntimeError("permission denied")))
    with pytest.raises(RuntimeError, match="permission denied"):
        lance.opened_or_created(denied, "claims", None)
    assert len(denied.tried) == 1
    endless = Contended(*[(False, RuntimeError("conflict"))] * 100)
    with pytest.raises(RuntimeError, match="conflict"):
        lance.opened_or_created(endless, "claims", None)
    assert len(endless.tried) == lance.TRIES


def test_eight_threads_create_one_table(tmp_path):
    made, failed = [], []

    def create(worker: str) -> None:
        try:
            made.append(ClaimTable(str(tmp_path / "index")))
            made[-1].insert([Claim(f"{worker}.mp4", worker)])
        except Exception as error:  # an exception in a thread is otherwise lost
            failed.append(error)

    threads = [threading.Thread(target=create, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and {claim.worker for claim in made[0].all()} == set("01234567")
