"""PyTorch's training steps of the GPU visit, in a process of their own.

    python -m benchmarks.gpu_torch cuda

Reads a JSON list a line, the fields of `StepSizes` and the number of rounds, and writes a JSON row for each. Where a
batch does not fit, half of it is tried. PyTorch is imported late: not every environment has it.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.measure import median_seconds
from benchmarks.train_step_ours import StepSizes, measured_system
from benchmarks.train_step_torch import whole_step
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import first_line

SUMMARY = "PyTorch's training steps of the GPU visit, asked for by lines of JSON."


def measured_step(sizes: StepSizes, rounds: int, device: str) -> dict[str, Any]:
    """Measure one step of a batch, or of the largest half, quarter … of it that fits."""
    import torch

    row: dict[str, Any] = {"clip": sizes.clip, "type": sizes.dtype, "batch": sizes.batch, "frames": sizes.frames}
    try:
        measured = measured_system(sizes)
        seconds = median_seconds(whole_step(measured, sizes, measured.system.max_words, device), rounds)
    except torch.OutOfMemoryError as error:
        if sizes.batch == 1:
            return row | {"error": first_line(error)[:200]}
    else:
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
        return row | {"seconds": seconds, "clips_per_second": sizes.batch / seconds, "peak_bytes": peak}
    released(device)
    return measured_step(replace(sizes, batch=sizes.batch // 2), rounds, device)


def released(device: str) -> None:
    """Give the memory of what is no longer used back to the device."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(arguments: Sequence[str]) -> None:
    """Measure what standard input asks for."""
    parser = Parser(prog="python -m benchmarks.gpu_torch", description=SUMMARY)
    parser.add_argument("device", choices=["cuda", "cpu"], help="PyTorch's")
    device = parser.parse_args(arguments).device
    for line in sys.stdin:
        fields, rounds = json.loads(line)
        print(json.dumps(measured_step(StepSizes(**fields), rounds, device)), flush=True)
        released(device)


if __name__ == "__main__":
    run_command(main)
