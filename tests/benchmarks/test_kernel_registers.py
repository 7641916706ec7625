"""What the assembler says of the scoring kernel is read, and how many pairs an SM has registers for is counted."""

from __future__ import annotations

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by it
import numpy as np
import pytest

from benchmarks.gpu_scoring import LAUNCHES
from benchmarks.kernel_registers import Registers, registers_of
from eaglenet_jax.layers.graph_kernel import Sizes, choose_launch

SAID = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'fusion' for 'sm_90a'
ptxas info    : Function properties for fusion
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Compiling entry function 'candidate_weights' for 'sm_90a'
ptxas info    : Function properties for candidate_weights
    136 bytes stack frame, 132 bytes spill stores, 132 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 136 bytes cumulative stack size
"""


def test_the_kernel_is_told_from_others_in_its_file():
    assert registers_of("candidate_weights", SAID) == Registers(255, 136)
    assert registers_of("fusion", SAID) == Registers(32, 0)
    with pytest.raises(ValueError, match="nothing of another"):
        registers_of("another", SAID)


@pytest.mark.parametrize(
    ("registers", "warps", "pairs"),
    [(255, 2, 4), (140, 2, 7), (96, 2, 10), (128, 1, 16), (255, 8, 1), (194, 4, 2)],
)
def test_registers_are_given_to_warps_in_units(registers, warps, pairs):
    assert Registers(registers, 0).pairs_at_a_time(warps) == pairs


@pytest.mark.parametrize(("frames", "dtype", "launch"), [(12, "bfloat16", (2, 128)), (64, "float32", (8, 128))])
def test_what_is_listed_first_is_what_the_kernel_takes(frames, dtype, launch):
    assert choose_launch(Sizes(21, frames, 4, 128, 1), np.dtype(dtype)) == launch
    name = "bfloat16" if dtype == "bfloat16" else "float32, default"
    assert LAUNCHES[name, frames][0] == launch
