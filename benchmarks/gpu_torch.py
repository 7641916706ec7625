"""PyTorch's training steps of the GPU visit, in a process of their own.

    python -m benchmarks.gpu_torch SIZES ROUNDS DEVICE

SIZES: a JSON list of the fields of `StepSizes`. Prints one JSON list, a row a case. Where a batch does not fit, half of
it is tried.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_scoring import seconds_of
from benchmarks.train_step_ours import StepSizes, measured_system
from benchmarks.train_step_torch import whole_step


def measured_step(sizes: StepSizes, rounds: int, device: str) -> dict[str, Any]:
    """Measure one step of a batch, or of the largest half, quarter … of it that fits."""
    row: dict[str, Any] = {"clip": sizes.clip, "type": sizes.dtype, "batch": sizes.batch, "frames": sizes.frames}
    try:
        measured = measured_system(sizes)
        step = whole_step(measured, sizes, measured.system.max_words, device)
        seconds = seconds_of(step, rounds)
    except torch.OutOfMemoryError as error:
        if sizes.batch == 1:
            return row | {"error": str(error).splitlines()[0][:200]}
        step = None
        gc.collect()
        torch.cuda.empty_cache()
        return measured_step(replace(sizes, batch=sizes.batch // 2), rounds, device)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return row | {"seconds": seconds, "clips_per_second": sizes.batch / seconds, "peak_bytes": peak}


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    cases, rounds, device = arguments
    rows = []
    for case in json.loads(cases):
        rows.append(measured_step(StepSizes(**case), int(rounds), device))
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
