from __future__ import annotations

import os
import signal
import threading

import pytest

from eaglenet_jax.training.preemption import SIGNALS, Preemption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_recorded_and_the_step_completes(number: signal.Signals, capfd) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with Preemption() as preemption:
        assert not preemption.requested()
        os.kill(os.getpid(), number)
        assert preemption.requested()
        assert preemption.signal == number
        said = capfd.readouterr().err  # at once: a step may take minutes while it is compiled
    assert said.startswith(f"{number.name}: stopping after this step, and its evaluation if one is due, then saving")
    assert ("Ctrl-C again stops at once" in said) == (number == signal.SIGINT)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_second_control_c_interrupts() -> None:
    with Preemption(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_nothing_is_changed() -> None:
    found: list[bool] = []

    def run() -> None:
        with Preemption() as preemption:
            found.append(preemption.requested())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
