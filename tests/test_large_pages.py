"""Commands that train or evaluate start again with large pages, once, and only where that is of use; garbage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eaglenet_jax import large_pages

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "eaglenet_jax.train", "--config=demo"]
NOTES_STARTS = """
import os
with open(os.environ["STARTS"], "a") as file:
    file.write(f"{os.getpid()} {os.environ.get('GLIBC_TUNABLES', '')}\\n")
"""


@pytest.fixture
def restarts(monkeypatch):
    """The tunables of every restart, on a system where large pages are of use."""
    given: list[str] = []
    monkeypatch.setattr(large_pages, "_are_on_request", lambda: True)
    monkeypatch.setattr(sys, "orig_argv", COMMAND)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.delenv(large_pages.VARIABLE, raising=False)
    monkeypatch.setattr(os, "execve", lambda program, words, variables: given.append(variables[large_pages.VARIABLE]))
    return given


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ["glibc.malloc.hugetlb=1"]),
        ("glibc.malloc.check=1", ["glibc.malloc.check=1:glibc.malloc.hugetlb=1"]),
        ("glibc.malloc.hugetlb=0", []),  # the user's choice
        ("glibc.malloc.hugetlb=1", []),  # or a restart that has been
    ],
)
def test_what_the_user_set_stays(restarts, monkeypatch, before, after):
    monkeypatch.setenv(large_pages.VARIABLE, before)
    large_pages.restart_with_large_pages()
    assert restarts == after


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-m", "pytest", "-m", "eaglenet_jax.train"],
        ["python", "-m", "ipykernel_launcher"],
        ["python", "-c", "…"],
        ["python", "-m"],
    ],
)
def test_another_program_is_not_started_again(restarts, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", words)
    large_pages.restart_with_large_pages()
    assert not restarts


def test_a_debugger_is_not_lost(restarts, monkeypatch):
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    large_pages.restart_with_large_pages()
    assert not restarts


@pytest.mark.parametrize(
    ("library", "mode", "asked"),
    [
        (("glibc", "2.36"), "always [madvise] never", True),
        (("glibc", "2.36"), "[always] madvise never", False),
        (("glibc", "2.36"), "always madvise [never]", False),
        (("glibc", "2.36"), None, False),  # a container that hides it
        (("glibc", "2.31"), "always [madvise] never", False),
        (("", ""), "always [madvise] never", False),  # musl, macOS
    ],
)
def test_systems_that_give_large_pages_on_request(tmp_path, monkeypatch, library, mode, asked):
    if mode is not None:
        (tmp_path / "enabled").write_text(mode)
    monkeypatch.setattr(large_pages, "KERNEL_MODE", tmp_path / "enabled")
    monkeypatch.setattr(large_pages.platform, "libc_ver", lambda: library)
    assert large_pages._are_on_request() is asked


@pytest.mark.parametrize(("computes", "threshold"), [(True, "50000"), (False, "700")])
def test_garbage_is_looked_for_less_often_where_much_is_traced(computes, threshold):
    program = f"""
import gc
from eaglenet_jax.command import run_command
gc.set_threshold(700, 10, 10)
run_command(lambda words: print(gc.get_threshold()[0]), computes={computes})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == threshold


@pytest.mark.parametrize(
    ("words", "starts_again"),
    [
        (["eaglenet_jax.train", "--config=missing"], True),
        (["eaglenet_jax.evaluate", "--workdir=missing"], True),
        (["eaglenet_jax.sweep", "--config=missing"], True),
        (["eaglenet_jax.train", "--help"], False),
        (["eaglenet_jax.report", "--runs=missing"], False),
    ],
)
def test_commands_start_again_in_the_same_process(tmp_path, words, starts_again):
    (tmp_path / "sitecustomize.py").write_text(NOTES_STARTS)
    variables = {name: value for name, value in os.environ.items() if name != large_pages.VARIABLE}
    variables |= {"STARTS": str(tmp_path / "starts"), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    subprocess.run([sys.executable, "-m", *words], env=variables, cwd=tmp_path, capture_output=True, timeout=120)
    (process, tunables), *again = [line.split(" ") for line in (tmp_path / "starts").read_text().splitlines()]
    assert not tunables
    expected = [[process, "glibc.malloc.hugetlb=1"]] if starts_again and large_pages._are_on_request() else []
    assert again == expected
