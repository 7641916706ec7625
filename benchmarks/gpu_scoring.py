"""Part 2 of the GPU visit: seconds, share of peak and R@K of scoring a gallery, the dense forms beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu_right import TYPES, kernel_words
from benchmarks.measure import median
from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from benchmarks.scoring import compare
from benchmarks.scoring_counts import folded_products, mflop
from benchmarks.scoring_ways import ALL_NODES, DENSE, OURS, TITLES, TORCH, has_torch
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery

SIGNAL = 0.05  # gives an R@1 between 0 and 100, so that rounding can change it


def seconds_of(function: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of a function that returns when its result is ready, after an untimed call."""
    function()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return median(found)


def matmul_peak(width: int, rounds: int) -> float:
    """Measure the FLOP/s of a product of two bfloat16 matrices [width, width]."""
    product = jax.jit(lambda x: x @ x)
    matrix = jax.random.normal(jax.random.key(0), (width, width), jnp.bfloat16)
    return 2.0 * width**3 / seconds_of(lambda: jax.block_until_ready(product(matrix)), rounds)


def whole_gallery(sizes: Sizes, peak: float, rounds: int, kernel: str = "none") -> Iterator[dict[str, Any]]:
    """Measure ours in every type: seconds of all pairs and of the evaluation after encoding, R@K, and agreement.

    A row a type, compared with float32 at `highest` in the plain form. kernel: as of `ScoringOptions`.
    """
    texts, videos = gallery(sizes, SIGNAL)
    relevance = np.arange(sizes.texts) % sizes.videos
    exact: np.ndarray | None = None
    for name, (dtype, precision) in TYPES.items():
        head = EagleNet(**released_fields(sizes, dtype))
        given = head, random_params(head), texts, videos

        def score(given: tuple[Any, ...] = given, kernel: str = kernel) -> np.ndarray:
            return score_gallery(*given, draws=Draws(jax.random.key(5)), options=ScoringOptions(kernel=kernel))

        def evaluate(score: Callable[[], np.ndarray] = score) -> dict[str, Any]:
            return retrieval_metrics(score(), relevance)

        with jax.default_matmul_precision(precision):
            exact = score(kernel="none") if exact is None else exact
            scores, metrics = score(), evaluate()["t2v"]
            seconds, evaluation_seconds = seconds_of(score, rounds), seconds_of(evaluate, rounds)
        flops = mflop(folded_products(sizes)) * 1e6 * scores.size
        yield {
            "type": name + kernel_words(kernel),
            "frames": sizes.frames,
            "pairs": scores.size,
            "seconds": seconds,
            "evaluation_seconds": evaluation_seconds,
            "teraflop_per_second": flops / seconds / 1e12,
            "share_of_peak": flops / seconds / peak,
            **{depth: metrics[depth] for depth in ("R@1", "R@5", "R@10")},
            "largest_difference": float(np.abs(scores - exact).max()),
            "same_first_percent": 100.0 * float(np.mean(scores.argmax(1) == exact.argmax(1))),
        }


def beside(sizes: Sizes, rounds: int, torch_device: str | None) -> dict[str, Any]:
    """Measure the dense forms and ours at a size that all can run, in float32 at `highest`."""
    names = [*([TORCH] if torch_device else []), ALL_NODES, DENSE, OURS]
    with jax.default_matmul_precision("highest"):
        return compare(sizes, "float32", names, rounds, torch_device or "cpu")


def torch_device() -> str | None:
    """Return the device of PyTorch: a GPU if there is one, None if PyTorch is not installed."""
    if not has_torch():
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gallery_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the result of `whole_gallery` as markdown."""
    lines = [
        "| type | M | pairs | seconds | with metrics | TFLOP/s | of the bf16 peak | R@1 | R@5 | R@10 "
        "| largest difference | same first, % |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = f"{row['seconds']:.3f} | {row['evaluation_seconds']:.3f} | {row['teraflop_per_second']:.2f}"
        recalls = " | ".join(f"{row[depth]:.1f}" for depth in ("R@1", "R@5", "R@10"))
        lines.append(
            f"| {row['type']} | {row['frames']} | {row['pairs']} | {times} | {row['share_of_peak']:.1%} | {recalls} "
            f"| {row['largest_difference']:.1e} | {row['same_first_percent']:.1f} |"
        )
    return "\n".join(lines)


def beside_table(result: dict[str, Any]) -> str:
    """Format the result of `beside` as markdown."""
    lines = ["| way | pairs/s | ms a pair | ours is … times faster |", "|---|---|---|---|"]
    for name, row in result["ways"].items():
        speed = f"{row['pairs_per_second']:.0f} | {1e3 / row['pairs_per_second']:.4f}"
        lines.append(f"| {TITLES[name]} | {speed} | {row['times_ours']:.1f} |")
    return "\n".join([*lines, "", f"Largest difference between them: {result['largest_difference']:.1e}."])
