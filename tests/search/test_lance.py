"""Creation of one table by several processes at once, and opening it meanwhile."""

from __future__ import annotations

import shutil
import threading
from types import SimpleNamespace

import pytest

from eaglenet_jax.search import lance
from eaglenet_jax.search.claim_table import Claim, ClaimTable
from eaglenet_jax.search.levels import read_measured
from eaglenet_jax.search.rows import StoreSettings
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule

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


def test_table_that_another_process_is_creating_is_waited_for(monkeypatch):
    monkeypatch.setattr(lance.time, "sleep", lambda _: None)
    connection = Contended((True, ValueError("Table 'claims' was not found")), (True, None))
    assert lance.opened(connection, "claims") == "opened claims"
    assert lance.opened(Contended((False, None)), "claims") is None


def test_index_of_which_only_the_folder_is_there_yet_is_opened(tmp_path, monkeypatch):
    settings = StoreSettings("model", "place", 8, 2, WindowRule())
    Store.open_or_create(str(tmp_path / "made"), settings)
    (tmp_path / "index" / "windows.lance").mkdir(parents=True)
    pauses = []

    def go_on(seconds):
        pauses.append(seconds)
        shutil.copytree(tmp_path / "made", tmp_path / "index", dirs_exist_ok=True)

    monkeypatch.setattr(lance.time, "sleep", go_on)
    assert Store.open(str(tmp_path / "index")).settings == settings and len(pauses) == 1


def test_levels_of_which_only_the_folder_is_there_are_none(tmp_path):
    (tmp_path / "levels.lance").mkdir()
    assert read_measured(str(tmp_path)) is None


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
