"""Training state: everything that changes from one training step to the next."""

from __future__ import annotations

from typing import Any

from flax import struct


@struct.dataclass
class TrainState:
    """State that a training step takes and returns, saved and restored as one.

    Attributes:
        step: [] int32, updates made so far.
        params: {"clip": …, "head": …}.
        opt_state: State of the optax optimiser.
        head_state: State that the head carries from step to step (EagleNet: its replay buffer), () for most.
    """

    step: Any
    params: Any
    opt_state: Any
    head_state: Any
