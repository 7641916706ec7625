"""Memory of a training step on GPUs of 24 to 140 GB, by the program that XLA compiles for a described H200.

    python -m benchmarks.gpu_memory [--configs=msrvtt:b16,msrvtt:b32] [--dtype=bfloat16] [--tiny] [--out FILE]

Without --configs every config with EagleNet; a compilation takes about a minute of two idle cores. Each config is
compiled as it stands and with what saves memory, at its own batch. The largest batch of a card follows from
temporaries that grow with the batch, so it is an estimate for batches far from the config's own: pairs grow with its
square. A prediction: on a real GPU other kernels may be chosen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.described_gpu import allow_compiling, described_mesh
from benchmarks.gpu_cases import compiled_step, step_config
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.config.loading import config_names

SUMMARY = "Memory of a training step on GPUs of 24 to 140 GB, by the compiler."
CARDS = (24, 40, 80, 140)  # GB
USABLE = 0.9  # of a card, which jax is to be given: XLA_PYTHON_CLIENT_MEM_FRACTION=0.9
SAVINGS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "pairwise_block=8": {"pairwise_block": 8},
    "encode_micro_batches=4": {"encode_micro_batches": 4},
    "clip.remat": {"clip__remat": True},
    "clip.remat, encode_micro_batches=4, pairwise_block=8": {
        "clip__remat": True,
        "encode_micro_batches": 4,
        "pairwise_block": 8,
    },
}


def needed(names: Sequence[str], dtype: str) -> Iterator[dict[str, Any]]:
    """Compile the step of every config with every saving; a row a program."""
    for name in names:
        for saving, fields in SAVINGS.items():
            config = step_config(name, clip__dtype=dtype, **fields)
            memory = compiled_step(config, described_mesh()).memory_analysis()
            row = {"config": name, "with": saving, "batch": config.batch_size, "frames": config.max_frames}
            row |= {"temporary_bytes": memory.temp_size_in_bytes, "argument_bytes": memory.argument_size_in_bytes}
            yield row | {"batches": {card: largest_batch(row, card) for card in CARDS}}


def largest_batch(row: dict[str, Any], card: int) -> int:
    """Estimate the largest batch that fits a card of so many GB; below 16 in steps of one, above in steps of eight."""
    room = USABLE * card * 1e9 - row["argument_bytes"]
    batch = max(0, int(room / (row["temporary_bytes"] / row["batch"])))
    return batch if batch < 16 else batch // 8 * 8


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Format as markdown."""
    lines = [
        "| config | batch × frames | with | temporaries, GB | rest, GB | largest batch: "
        + " | ".join(f"{card} GB" for card in CARDS)
        + " |",
        "|---|---|---|---|---|" + "---|" * len(CARDS),
    ]
    for row in rows:
        numbers = f"{row['temporary_bytes'] / 1e9:.1f} | {row['argument_bytes'] / 1e9:.1f}"
        batches = " | ".join(str(batch or "–") for batch in row["batches"].values())
        lines.append(f"| {row['config']} | {row['batch']} × {row['frames']} | {row['with']} | {numbers} | {batches} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Compile and print; the file is written after each program."""
    parser = Parser(prog="python -m benchmarks.gpu_memory", description=SUMMARY)
    parser.add_argument("--configs", default="", help="configs with commas between them; default all, with B/16")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="compute type of CLIP")
    parser.add_argument("--tiny", action="store_true", help="the demo's tiny sizes, to check that it runs")
    parser.add_argument("--out", type=Path, help="file for the rows as JSON")
    given = parser.parse_args(arguments)
    every = [f"{name}:b16" for name in config_names() if "/" not in name and not name.startswith(("demo", "moving"))]
    names = given.configs.split(",") if given.configs else ["demo:tiny"] if given.tiny else every
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    allow_compiling()
    rows = []
    for row in needed(names, given.dtype):
        rows.append(row)
        print(json.dumps(row), flush=True)
        if given.out:
            write_atomically(given.out, (json.dumps(rows, indent=1) + "\n").encode())
    print(table(rows))


if __name__ == "__main__":
    run_command(main)
