"""Division of files among processes: each file to one, and what a dead process had to another."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from eaglenet_jax.search import claims, process_locks
from eaglenet_jax.search.claim_table import Claim, ClaimTable
from eaglenet_jax.search.claims import Claims
from eaglenet_jax.search.files import file_state
from eaglenet_jax.search.rows import StoredWindow, StoreSettings
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule

pytestmark = pytest.mark.search


@pytest.fixture
def store(tmp_path):
    return Store.open_or_create(str(tmp_path / "index"), StoreSettings("model", "demo", 4, 2, WindowRule()))


@pytest.fixture
def files(tmp_path):
    """Six files of which nobody reads more than the size."""
    paths = [tmp_path / f"{number}.mp4" for number in range(6)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def write(store, file):
    """Commit a row of a file."""
    vectors = {"pooled": np.ones(4, np.float32), "frames": np.zeros((2, 4), np.float16)}
    store.add([StoredWindow(file.name, str(file), 0.0, 1.0, (0.0,), b"", file=file_state(file), **vectors)])


def taken(several, most=99):
    found = []
    while len(found) < most and (file := several.next()) is not None:
        found.append(file)
    return found


def test_a_file_goes_to_one_process_and_what_it_leaves_to_another(store, files):
    with Claims(store, files, least=6) as one, Claims(store, files[::-1], least=6) as other:
        mine = taken(one)
        assert set(mine) == set(files) and taken(other) == [] and not other.finished
        for file in files[:2]:
            write(store, file)
        one.done([str(file) for file in files[:2]])
        one.give_up(str(files[2]), "no picture")
        assert taken(other) == []
        elsewhere, given_up = other.news()
        assert set(elsewhere) == set(files[:2]) and given_up == {files[2]: "no picture"}
        one.__exit__(None, None, None)  # as when the user interrupts
        assert set(taken(other)) == set(files[3:])
        for file in files[3:]:
            write(store, file)
        other.done([str(file) for file in files[3:]])
        assert other.finished
    assert ClaimTable(store.uri).all() == []


def test_what_was_given_up_is_known_until_the_last_process_ends(store, files, monkeypatch):
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.0)
    only, table = files[:1], ClaimTable(store.uri)
    with Claims(store, only, least=1) as other:
        with Claims(store, only, least=1) as one:
            assert taken(one) == only and taken(other) == []
            other.wait()  # it has no file, and is known to be there
            one.give_up(str(only[0]), "no picture")
        with Claims(store, only, least=1) as third:
            assert taken(third) == [] and third.news()[1] == {only[0]: "no picture"} and third.finished
        assert taken(other) == [] and other.news()[1] == {only[0]: "no picture"} and other.finished
    assert table.all() == []
    with Claims(store, only, least=1) as later:
        assert taken(later) == only


def test_what_killed_processes_left_is_forgotten(store, files, clock):
    table = ClaimTable(store.uri)
    table.insert([Claim(str(files[0]), claims.ENDED, reason="no picture"), Claim(f"{claims.WAITING}dead", "dead")])
    with Claims(store, files[:1], least=1) as first:
        assert taken(first) == []  # the one that waited may live
        clock[0] += claims.LEASE_SECONDS
    assert table.all() == []


def test_lock_files_of_killed_processes_are_deleted_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = process_locks.ProcessLock("living")
    living.hold()
    for name in ("yesterday", "today"):
        (tmp_path / f"eaglenet_jax_search_{name}.lock").touch()
    for name in ("yesterday", "living"):
        os.utime(tmp_path / f"eaglenet_jax_search_{name}.lock", (0, 0))
    new = process_locks.ProcessLock("new")
    new.hold()
    assert {file.name.split("_")[-1] for file in tmp_path.iterdir()} == {"living.lock", "today.lock", "new.lock"}
    assert process_locks.has_ended("today") and not process_locks.has_ended("living")
    living.release()
    new.release()
    assert [file.name for file in tmp_path.iterdir()] == ["eaglenet_jax_search_today.lock"]


def test_processes_that_are_known_to_share_take_parts(store, files):
    with Claims(store, files, least=1, sharers=2) as one, Claims(store, files, least=1, sharers=2) as other:
        found = [one.next() for _ in range(2)], [other.next()]
        assert len({*found[0], *found[1]}) == 3
        assert {claim.path for claim in ClaimTable(store.uri).all()} == {str(f) for part in found for f in part}


DIES = """
import signal, sys
from pathlib import Path
from eaglenet_jax.search.claims import Claims
from eaglenet_jax.search.store import Store
several = Claims(Store.open(sys.argv[1]), map(Path, sys.argv[2:]), least=6)
several.__enter__()
print(several.next(), flush=True)
signal.pause()
"""


def test_a_killed_process_of_this_machine_loses_its_files_at_once(store, files):
    command = [sys.executable, "-c", DIES, store.uri, *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        with Claims(store, files, least=6) as other:
            assert taken(other) == []
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert set(taken(other)) == set(files)


@pytest.fixture
def clock(monkeypatch):
    """The seconds that processes see, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_another_machine_keeps_its_files_while_it_shows_that_it_lives(store, files, tmp_path, monkeypatch, clock):
    (tmp_path / "far").mkdir()
    table = ClaimTable(store.uri)
    with monkeypatch.context() as there:  # another machine has other temporary files
        there.setattr(tempfile, "tempdir", str(tmp_path / "far"))
        far = Claims(store, files, least=6)
        far.__enter__()
    assert len(taken(far)) == 6
    with Claims(store, files, least=6) as near:
        for now in (0, claims.LEASE_SECONDS - 1):
            clock[0] = now
            assert taken(near) == []
        table.beat(far.worker, 1)
        clock[0] += 1
        assert taken(near) == []  # it sees the number that has changed
        clock[0] += claims.LEASE_SECONDS - 1
        assert taken(near) == []
        clock[0] += 1  # the number has stood still
        assert set(taken(near)) == set(files)
    far.__exit__(None, None, None)


def test_a_dead_process_whose_claims_bear_two_numbers_is_dead(store, files, clock):
    ClaimTable(store.uri).insert([Claim(str(file), "dead", 5 + place % 2) for place, file in enumerate(files)])
    with Claims(store, files, least=6) as several:
        assert taken(several) == []
        clock[0] += claims.LEASE_SECONDS
        assert set(taken(several)) == set(files)


def test_files_whose_processes_died_come_last_alone_and_not_for_ever(store, files, clock):
    table = ClaimTable(store.uri)
    dead = [Claim(str(file), "dead", 5, deaths) for file, deaths in zip(files[:5], (0, 0, 1, 1, 2), strict=True)]
    table.insert(dead)
    with Claims(store, files, least=2) as several:
        assert taken(several) == [files[5]]
        clock[0] += claims.LEASE_SECONDS
        assert taken(several) == files[:2]  # the rest one by one, when nothing else is being read
        deaths = {claim.path: claim.deaths for claim in table.all() if claim.worker == several.worker}
        assert deaths == {str(files[5]): 0, str(files[0]): 1, str(files[1]): 1}
        alone = []
        group = [files[5], *files[:2]]
        while group:
            for file in group:
                write(store, file)
            several.done([str(file) for file in group])
            group = taken(several)
            alone += group
            assert len(group) <= 1
        assert alone == files[2:4] and several.finished and several.news()[1].keys() == {files[4]}
        assert "3 processes ended" in next(c.reason for c in table.all() if c.path == str(files[4]))


def test_of_two_that_claim_at_once_one_succeeds(store, files):
    table = ClaimTable(store.uri)
    table.insert([Claim(str(file), "one") for file in files[:4]])
    table.insert([Claim(str(file), "other") for file in files[2:]])
    assert sorted(claim.worker for claim in table.all()) == ["one"] * 4 + ["other"] * 2
    table.delete("one", [str(files[0])], beat=7)  # it has shown that it lives since
    assert len(table.all()) == 6
    table.beat("one", 7)
    table.delete("one", [str(files[0]), str(files[5])], beat=7)
    assert {dataclasses.replace(claim, path="") for claim in table.all()} == {Claim("", "one", 7), Claim("", "other")}
    assert len(table.all()) == 5
