"""Ctrl-C ends every command, wherever it falls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eaglenet_jax import train
from eaglenet_jax.runs import train as running

ROOT = Path(__file__).parents[1]
# The interrupt falls into a callback of the garbage collector, as jax has one, where Python prints and drops it.
PROGRAM = """
import gc, os, signal, time
from eaglenet_jax.command import run_command
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
def callback(phase, info):
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
def main(arguments):
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)
    print("went on")
run_command(main)
"""


def test_an_interrupt_in_a_callback_of_the_garbage_collector_ends_the_command():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


IMPORTING = """
import os, signal, sys, time
from eaglenet_jax.command import run_command
def main(arguments):
    import interrupted_import
    print(interrupted_import.COMPLETE, flush=True)
    time.sleep(20)
    print("went on")
signal.signal(signal.SIGINT, signal.default_int_handler)
run_command(main)
"""
MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.02)
COMPLETE = "complete"
"""


def test_an_interrupt_in_an_import_waits_for_the_module(tmp_path):
    (tmp_path / "interrupted_import.py").write_text(MODULE)
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "complete\n", "interrupted\n")


def test_a_training_that_is_interrupted_between_its_steps_says_how_it_goes_on(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train_run", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted; the same command continues"):
        train.main(["--config=demo:tiny", f"--workdir={tmp_path / 'run'}"])


ENDING = """
import atexit, sys
from eaglenet_jax.command import run_command
def main(arguments):
    print("begun")
    raise KeyboardInterrupt(*arguments)
atexit.register(print, "the interpreter ended")
run_command(main, computes={computes})
"""


@pytest.mark.parametrize(("computes", "last"), [(True, "begun\n"), (False, "begun\nthe interpreter ended\n")])
def test_what_computes_ends_without_the_interpreter(computes, last):
    """Which would unload a step that goes on in XLA's threads, and crash."""
    for words, said in ([], "interrupted\n"), (["and why"], "and why\n"):
        command = [sys.executable, "-c", ENDING.format(computes=computes), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (130, last, said)
