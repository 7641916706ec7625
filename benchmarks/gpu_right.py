"""Part 1 of the GPU visit: are the numbers right there? Records of the released programs, blocks and types."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.measure import at_once
from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from eaglenet_jax.accelerator import is_recent_gpu
from eaglenet_jax.clip.layers import cudnn_attention
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
    return "triton" if is_recent_gpu() else "interpret"


def replayed(records: Sequence[Path]) -> list[dict[str, Any]]:
    """Replay records of the released programs in float64 on this device, side by side; a row a record."""
    parity = importlib.import_module("tests.parity.replay")  # by name: mypy checks no tests

    def replay(file: Path) -> dict[str, Any]:
        verdicts = [parity.judge(row) for row in parity.replay(file)]
        return {
            "record": file.stem,
            "quantities": len(verdicts),
            "beyond_tolerance": sum(not verdict.good for verdict in verdicts),
            "largest_difference": max(verdict.absolute for verdict in verdicts),
        }

    return list(at_once({file.stem: partial(replay, file) for file in records}).values())


def agreement(sizes: Sizes, block: int, kernel: str = "none") -> list[dict[str, Any]]:
    """Compare scores of this device by type and by block with the CPU's in float32 at `highest`; a row a type.

    kernel: as of `ScoringOptions`; the CPU has none.
    """
    texts, videos = gallery(sizes)

    def score(dtype: str, precision: str, options: ScoringOptions) -> np.ndarray:
        head = EagleNet(**released_fields(sizes, dtype))
        with jax.default_matmul_precision(precision):
            params = random_params(head)
            return score_gallery(head, params, texts, videos, draws=Draws(jax.random.key(5)), options=options)

    def exactly() -> np.ndarray:
        with jax.default_device(jax.devices("cpu")[0]):
            return score("float32", "highest", ScoringOptions())

    jobs = {"exact": exactly}
    for name, (dtype, precision) in TYPES.items():
        jobs[name] = partial(score, dtype, precision, ScoringOptions(kernel=kernel))
        jobs[f"{name}, blocks"] = partial(score, dtype, precision, ScoringOptions(block, block + 1, kernel=kernel))
    found = at_once(jobs)
    return [
        {
            "type": name + kernel_words(kernel),
            "to_cpu": float(np.abs(found[name] - found["exact"]).max()),
            "between_blocks": float(np.abs(found[name] - found[f"{name}, blocks"]).max()),
            "spread_of_scores": float(found["exact"].std()),
        }
        for name in TYPES
    ]


def attention_agreement(cases: Sequence[tuple[int, int, bool]]) -> list[dict[str, Any]]:
    """Compare attention of the CLIPs in bfloat16, and its gradient, with float32 at `highest`; a row a kernel.

    cases: sequences, tokens, and whether it is causal. Elsewhere than on a GPU there is XLA's alone.
    """

    def both(attend: Callable[..., Array], dtype: str, precision: str, case: tuple[int, int, bool]) -> list[np.ndarray]:
        count, length, causal = case
        drawn = jax.random.normal(jax.random.key(0), (4, count, length, 12, 64))
        given = [2 * part.astype(jnp.bfloat16) for part in drawn]  # all types start from the same numbers

        def value(*parts: Array) -> tuple[Array, Array]:
            attended = attend(*(part.astype(dtype) for part in parts), causal)
            return jnp.sum(attended.astype(jnp.float32) * given[3].astype(jnp.float32)), attended

        with jax.default_matmul_precision(precision):
            gradient = jax.jit(jax.grad(value, argnums=(0, 1, 2), has_aux=True))
            gradients, attended = gradient(*(part.astype(jnp.float32) for part in given[:3]))
        return [np.asarray(array, np.float32) for array in (attended, *gradients)]

    def error(found: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
        pairs = zip(found, exact, strict=True)
        return max(float(np.linalg.norm(ours - right) / np.linalg.norm(right)) for ours, right in pairs)

    kernels = {"xla": xla_attention} | ({"cudnn": cudnn_attention} if is_recent_gpu() else {})
    rows = []
    for case in cases:
        exact = both(xla_attention, "float32", "highest", case)
        for name, attend in kernels.items():
            found = both(attend, "bfloat16", "default", case)
            row = {"kernel": name, "tokens": case[1], "causal": case[2]}
            rows.append(row | {"value": error(found[:1], exact[:1]), "gradient": error(found[1:], exact[1:])})
    return rows


def xla_attention(query: Array, key: Array, value: Array, causal: bool) -> Array:
    """Compute attention by XLA's operations."""
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation="xla")


def attention_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `attention_agreement` as markdown."""
    lines = [
        "| attention in bfloat16 by | tokens | causal | error of the value | of the gradient |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['kernel']} | {row['tokens']} | {row['causal']} | {row['value']:.1e} | {row['gradient']:.1e} |"
        for row in rows
    ]
    return "\n".join(lines)


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
