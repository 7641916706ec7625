"""Registers of the scoring kernel by how its programs run, compiled for a GPU that is described and not present.

    python -m benchmarks.kernel_registers

A prediction: what the compiler says of registers decides how many pairs an SM computes at a time, and with it how much
of the time that loads and barriers take is filled by other pairs. `benchmarks/gpu.sh --parts=launches` times the same.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks.described_gpu import allow_compiling, described_mesh, placed
from benchmarks.gpu_cases import compiled
from benchmarks.gpu_scoring import LAUNCHES
from benchmarks.random_features import Sizes
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.layers import graph_kernel
from eaglenet_jax.layers.graph_kernel import Launch, candidate_weights_by_kernel
from eaglenet_jax.layers.rgat import GraphParameters, GraphShape
from eaglenet_jax.layers.rgat_folded import prepare_frames

COMPUTED = {"bfloat16": "bfloat16", "float32, default": "tensorfloat32"}  # as `gpu_cases.compiled` names them
SM_REGISTERS, UNIT = 65_536, 256  # of an SM, and those that a warp is given at a time
ARCHITECTURE, KERNEL = "sm_90a", "candidate_weights"


class Registers(NamedTuple):
    """What the assembler says of a kernel. registers: of a thread. outside: bytes of a thread in local memory."""

    registers: int
    outside: int

    def pairs_at_a_time(self, warps: int) -> int:
        """Count the programs that an SM has registers for."""
        of_warp = -(-32 * self.registers // UNIT) * UNIT
        return SM_REGISTERS // (warps * of_warp)


def registers_of(kernel: str, said: str) -> Registers:
    """Read what `ptxas -v` says of a kernel; one file can have several.

    Raises:
        ValueError: It says nothing of it.
    """
    found = re.search(rf"properties for {kernel}\n\s*(\d+) bytes stack frame.*\n.*Used (\d+) registers", said)
    if found is None:
        raise ValueError(f"ptxas says nothing of {kernel}: {said}")
    return Registers(int(found[2]), int(found[1]))


def assembled(name: str, sizes: Sizes, launch: Launch) -> Registers:
    """Compile the kernel and ask NVIDIA's assembler.

    Args:
        name: Of the type, as in `LAUNCHES`.
        sizes: Of a block.
        launch: How a program runs.
    """
    shape = GraphShape(sizes.width, heads=sizes.heads, readout="released")
    dtype = jnp.bfloat16 if name == "bfloat16" else jnp.float32

    def weights(params: Any, frames: Any, mask: Any, texts: Any) -> Any:
        layers: Any = GraphParameters(shape).apply(params)
        given = prepare_frames(shape, layers, frames, mask)
        return candidate_weights_by_kernel(shape, layers, given, texts, "triton")

    leaf = jax.ShapeDtypeStruct
    params = jax.eval_shape(GraphParameters(shape).init, jax.eval_shape(lambda: jax.random.key(0)))
    frames = leaf((sizes.videos, sizes.frames, sizes.width), dtype)
    mask = leaf((sizes.videos, sizes.frames), jnp.bool_)
    texts = leaf((sizes.texts, sizes.videos, sizes.candidates + 1, sizes.width), dtype)
    given = placed((params, frames, mask, texts), described_mesh())
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(graph_kernel, "choose_launch", lambda *_: launch):
            compiled(jax.jit(weights), given, COMPUTED[name], dump=folder)
        (code,) = [file for file in Path(folder).glob("*.ptx") if f".entry {KERNEL}" in file.read_text()]
        command = [assembler(), "-v", f"-arch={ARCHITECTURE}", "-o", f"{folder}/code", str(code)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return registers_of(KERNEL, said)


def assembler() -> str:
    """Find NVIDIA's assembler, which comes with jax's CUDA plugin.

    Raises:
        UserError: It is not installed.
    """
    found = importlib.util.find_spec("nvidia.cuda_nvcc")
    for place in (found.submodule_search_locations or []) if found else []:
        if (program := Path(place) / "bin/ptxas").is_file():
            return str(program)
    raise UserError("there is no ptxas; install jax's CUDA plugin: pip install -e '.[cuda12]'")


def main(arguments: Sequence[str]) -> None:
    """Compile the kernel for every launch that `benchmarks/gpu.sh` times, and print a table."""
    Parser(prog="python -m benchmarks.kernel_registers", description=(__doc__ or "").split("\n")[0]).parse_args(
        arguments
    )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    allow_compiling()
    print("| type | M | warps | features of a head at a time | registers | bytes outside | pairs on an SM at a time |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for (name, frames), launches in LAUNCHES.items():
        for warps, columns in launches:
            found = assembled(name, Sizes(frames=frames, texts=64, videos=128), Launch(warps, columns))
            numbers = f"{warps} | {columns} | {found.registers} | {found.outside} | {found.pairs_at_a_time(warps)}"
            print(f"| {name} | {frames} | {numbers} |", flush=True)


if __name__ == "__main__":
    run_command(main)
