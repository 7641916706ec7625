"""Compiled programs are kept for the next command, where the user wants them, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import filelock
import jax
import pytest

from eaglenet_jax import compilation_cache
from eaglenet_jax.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_command(monkeypatch):
    """What is called here makes no command of the process in which other tests run."""
    monkeypatch.setattr(compilation_cache, "_in_command", False)


PROGRAM = """
import sys
from eaglenet_jax.command import run_command
def main(arguments):
    import jax, jax.monitoring
    from eaglenet_jax.compilation_cache import choose_cache, describe_cache
    events = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
    if arguments:
        choose_cache(arguments[0])
    jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((8, 8))).block_until_ready()
    print(describe_cache(), sum(name.endswith("cache_hits") for name in events))
run_command(main)
"""
REMOVES = """
import sys
from pathlib import Path
from eaglenet_jax import compilation_cache
compilation_cache._remove_incomplete(Path(sys.argv[1]))
"""


def _run(home: Path, *arguments: str, **environment: str) -> tuple[str, int]:
    """What a command says of its cache, and how many programs it read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
    kept |= {"HOME": str(home), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, check=True)
    said, hits = done.stdout.strip().rsplit(" ", 1)
    assert not done.stderr
    return said, int(hits)


def test_the_second_command_reads_what_the_first_compiled(tmp_path):
    said, hits = _run(tmp_path)
    assert re.fullmatch(r"kept in ~/\.cache/eaglenet_jax/compiled_[0-9a-f]{8} \(at most 2 GiB\)", said) and not hits
    assert _run(tmp_path)[1] > 0
    assert _run(tmp_path, "") == ("not kept", 0)
    said, hits = _run(tmp_path, str(tmp_path / "other"))
    assert said.startswith("kept in ~/other") and not hits and any((tmp_path / "other").iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path):
    _run(tmp_path)
    (folder,) = (tmp_path / ".cache/eaglenet_jax").iterdir()
    whole = sorted(path.name for path in folder.iterdir())
    (folder / "jit_step-0123-cache").write_bytes(b"a part")
    (folder / "jit_other-4567-atime").write_bytes(b"")
    assert _run(tmp_path)[1] > 0  # says nothing on stderr
    assert not (folder / "jit_step-0123-cache").exists()
    assert {*whole} <= {path.name for path in folder.iterdir()}


def test_without_a_limit_nothing_is_removed(tmp_path):
    """JAX then writes no times of use."""
    for hits in (False, True):
        assert bool(_run(tmp_path, JAX_COMPILATION_CACHE_MAX_SIZE="-1")[1]) == hits


def test_a_folder_that_cannot_be_listed_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", lambda folder: (_ for _ in ()).throw(PermissionError()))
    compilation_cache._remove_incomplete(tmp_path)


def test_a_program_that_another_process_writes_is_left(tmp_path):
    (tmp_path / "jit_step-0123-cache").write_bytes(b"a part")
    with filelock.FileLock(tmp_path / ".lockfile"):
        started = subprocess.run(
            [sys.executable, "-c", REMOVES, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert not started.stderr and (tmp_path / "jit_step-0123-cache").exists()


def test_steps_are_kept_by_commands_alone(monkeypatch):
    monkeypatch.setattr(compilation_cache, "_in_command", True)
    folder, enabled = compilation_cache.traced_folder(), jax.config.jax_enable_compilation_cache
    assert folder is not None and folder.parent == Path(jax.config.jax_compilation_cache_dir)
    try:
        compilation_cache.choose_cache("")
        assert compilation_cache.traced_folder() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
    monkeypatch.setattr(compilation_cache, "_in_command", False)
    assert compilation_cache.traced_folder() is None


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv(compilation_cache.FOLDER_VARIABLE, raising=False)
    compilation_cache.keep_compiled_programs()
    assert compilation_cache.FOLDER_VARIABLE not in os.environ
    with pytest.raises(UserError, match=r"config\.compilation_cache: .*file/inside: .*give another folder"):
        compilation_cache.choose_cache(str(tmp_path / "file/inside"))


def test_the_environment_of_the_user_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = dict(os.environ)  # the tests set a folder
    compilation_cache.keep_compiled_programs()
    assert dict(os.environ) == before and not list(tmp_path.iterdir())


def test_several_processes_on_cpus_compile_each_for_itself(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    enabled = jax.config.jax_enable_compilation_cache
    try:
        compilation_cache.choose_cache(compilation_cache.AUTO)
        assert compilation_cache.describe_cache() == "not kept"
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)


def test_processors_have_folders_of_their_own(monkeypatch):
    here = compilation_cache.default_folder()
    monkeypatch.setattr(Path, "read_text", lambda path: "model name : another\nflags : none\n")
    assert compilation_cache.default_folder() != here
