"""Part 1 of the GPU visit: are the numbers right there? Records of the released programs, blocks and types."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery

RECORDS = Path(__file__).parents[1] / "tests/golden"
# name: compute type, precision of float32 products
TYPES = {
    "float32, highest": ("float32", "highest"),
    "float32, default": ("float32", "default"),
    "bfloat16": ("bfloat16", "default"),
}


def kernel_here() -> str:
    """Return the scoring kernel of this device: Triton's on a GPU, elsewhere what that does, interpreted."""
    return "triton" if jax.default_backend() == "gpu" else "interpret"


def replayed(records: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Replay records of the released programs in float64 on this device; a row a record."""
    parity = importlib.import_module("tests.parity.replay")  # by name: mypy checks no tests
    for file in records:
        verdicts = [parity.judge(row) for row in parity.replay(file)]
        yield {
            "record": file.stem,
            "quantities": len(verdicts),
            "beyond_tolerance": sum(not verdict.good for verdict in verdicts),
            "largest_difference": max(verdict.absolute for verdict in verdicts),
        }


def agreement(sizes: Sizes, block: int, kernel: str = "none") -> Iterator[dict[str, Any]]:
    """Compare scores of this device by type and by block with the CPU's in float32 at `highest`; a row a type.

    kernel: as of `ScoringOptions`; the CPU has none.
    """
    texts, videos = gallery(sizes)

    def score(dtype: str, options: ScoringOptions) -> np.ndarray:
        head = EagleNet(**released_fields(sizes, dtype))
        return score_gallery(head, random_params(head), texts, videos, draws=Draws(jax.random.key(5)), options=options)

    with jax.default_matmul_precision("highest"), jax.default_device(jax.devices("cpu")[0]):
        exact = score("float32", ScoringOptions())
    for name, (dtype, precision) in TYPES.items():
        with jax.default_matmul_precision(precision):
            whole = score(dtype, ScoringOptions(kernel=kernel))
            blocks = score(dtype, ScoringOptions(block, block + 1, kernel=kernel))
        yield {
            "type": name + kernel_words(kernel),
            "to_cpu": float(np.abs(whole - exact).max()),
            "between_blocks": float(np.abs(whole - blocks).max()),
            "spread_of_scores": float(exact.std()),
        }


def kernel_words(kernel: str) -> str:
    """Return what stands behind a type in tables."""
    return "" if kernel == "none" else f", kernel ({kernel})"


def replay_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format replays as markdown."""
    lines = ["| record | quantities | beyond tolerance | largest difference |", "|---|---|---|---|"]
    lines += [
        f"| {row['record']} | {row['quantities']} | {row['beyond_tolerance']} | {row['largest_difference']:.1e} |"
        for row in rows
    ]
    return "\n".join(lines)


def agreement_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format agreement as markdown."""
    lines = ["| type | to the CPU | between blocks | spread of scores |", "|---|---|---|---|"]
    lines += [
        f"| {row['type']} | {row['to_cpu']:.1e} | {row['between_blocks']:.1e} | {row['spread_of_scores']:.1e} |"
        for row in rows
    ]
    return "\n".join(lines)
