"""SIGTERM and Ctrl-C as a request to stop after the current step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STDERR = 2


class Preemption:
    """Context in which SIGTERM and Ctrl-C only set a flag, which the training loop reads to save and stop.

    The first says so at once, since a step takes minutes while it is compiled; a second Ctrl-C interrupts. Outside the
    main thread, where Python allows no handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            name = signal.Signals(number).name
            said = f"{name}: stopping after this step, and its evaluation if one is due, then saving{again}\n"
            with contextlib.suppress(OSError):  # not print, whose buffer may be in use where the signal came
                os.write(STDERR, ("\n" * os.isatty(STDERR) + said).encode())  # on a terminal the live line ends first
        self.signal = signal.Signals(number)

    def requested(self) -> bool:
        """Return whether to stop.

        With several processes all must ask after the same steps; a signal to one of them stops all.
        """
        received = self.signal is not None
        if jax.process_count() == 1:
            return received
        return bool(np.any(multihost_utils.process_allgather(np.asarray(received), tiled=False)))
