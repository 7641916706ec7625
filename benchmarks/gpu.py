"""Benchmark of scoring a gallery on an accelerator: seconds, share of peak, agreement between types.

    benchmarks/gpu.sh [--out DIR] [--profile] [--tiny]

1000 texts × 1000 videos with 12 and with 64 frames, in float32 at precision `highest`, in float32 at the device's
default (TF32 on NVIDIA) and in bfloat16; and the dense formulations and ours at a size that they can run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import machine, median
from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from benchmarks.scoring import compare, table
from benchmarks.scoring_counts import folded_products, mflop
from benchmarks.scoring_ways import ALL_NODES, DENSE, OURS, TORCH, has_torch
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.scoring.gallery import score_gallery

SUMMARY = "Everything that is to be known of scoring on a GPU."
# name: compute type, precision of float32 products
TYPES = {
    "float32, highest": ("float32", "highest"),
    "float32, default": ("float32", "default"),
    "bfloat16": ("bfloat16", "default"),
}
ALL = Sizes(texts=1000, videos=1000)
BESIDE = Sizes(texts=64, videos=64)
FRAMES = (12, 64)
SIGNAL = 0.05  # gives an R@1 between 0 and 100, so that rounding can change it
PEAK_WIDTH = 8192
TINY = Sizes(frames=3, candidates=3, texts=9, videos=7, width=16, heads=2)


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


def whole_gallery(sizes: Sizes, peak: float, rounds: int) -> list[dict[str, Any]]:
    """Measure ours in every type: seconds of all pairs and of the evaluation after encoding, R@K, and agreement."""
    texts, videos = gallery(sizes, SIGNAL)
    relevance = np.arange(sizes.texts) % sizes.videos
    rows: list[dict[str, Any]] = []
    exact: np.ndarray | None = None
    for name, (dtype, precision) in TYPES.items():
        head = EagleNet(**released_fields(sizes, dtype))
        given = head, random_params(head), texts, videos

        def score(given: tuple[Any, ...] = given) -> np.ndarray:
            return score_gallery(*given, draws=Draws(jax.random.key(5)))

        def evaluate(score: Callable[[], np.ndarray] = score) -> dict[str, Any]:
            return retrieval_metrics(score(), relevance)

        with jax.default_matmul_precision(precision):
            scores, metrics = score(), evaluate()["t2v"]
            seconds, evaluation_seconds = seconds_of(score, rounds), seconds_of(evaluate, rounds)
        exact = scores if exact is None else exact
        flops = mflop(folded_products(sizes)) * 1e6 * scores.size
        rows.append(
            {
                "type": name,
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
        )
    return rows


def gallery_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the result of `whole_gallery`."""
    lines = [
        f"{'type':18}{'M':>4}{'pairs':>9}{'seconds':>9}{'evaluation':>12}{'TFLOP/s':>9}{'of peak':>9}"
        f"{'R@1':>7}{'R@5':>7}{'R@10':>7}{'difference':>12}{'same first':>12}"
    ]
    for row in rows:
        recalls = "".join(f"{row[depth]:7.1f}" for depth in ("R@1", "R@5", "R@10"))
        lines.append(
            f"{row['type']:18}{row['frames']:4}{row['pairs']:9}{row['seconds']:9.3f}{row['evaluation_seconds']:12.3f}"
            f"{row['teraflop_per_second']:9.2f}{row['share_of_peak']:9.1%}{recalls}{row['largest_difference']:12.1e}"
            f"{row['same_first_percent']:12.1f}"
        )
    return "\n".join(lines)


def profiled(sizes: Sizes, directory: Path) -> None:
    """Write a trace of one scoring in bfloat16 for TensorBoard's or Perfetto's profile viewer."""
    head = EagleNet(**released_fields(sizes, "bfloat16"))
    given = head, random_params(head), *gallery(sizes)
    score_gallery(*given, draws=Draws(jax.random.key(5)))
    with jax.profiler.trace(str(directory)):
        score_gallery(*given, draws=Draws(jax.random.key(5)))


def main(arguments: Sequence[str]) -> None:
    """Measure and print everything; with --out also write gpu.json."""
    parser = Parser(prog="benchmarks/gpu.sh", description=SUMMARY)
    parser.add_argument("--out", type=Path, help="folder for gpu.json and profiles")
    parser.add_argument("--profile", action="store_true", help="with --out: also write a trace of one scoring")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to check that it runs")
    given = parser.parse_args(arguments)
    all_pairs, beside, frames, width = (TINY, TINY, (3,), 32) if given.tiny else (ALL, BESIDE, FRAMES, PEAK_WIDTH)
    peak = matmul_peak(width, given.rounds)
    result: dict[str, Any] = {"machine": machine(), "bfloat16_peak_teraflop_per_second": peak / 1e12, "gallery": []}
    print(" ".join(f"{name}={value}" for name, value in result["machine"].items()))
    print(f"bfloat16 product of two {width} × {width} matrices: {peak / 1e12:.1f} TFLOP/s")
    for count in frames:
        result["gallery"] += whole_gallery(dataclasses.replace(all_pairs, frames=count), peak, given.rounds)
    print(gallery_table(result["gallery"]))
    torch_device = _torch_device()
    names = [*([TORCH] if torch_device else []), ALL_NODES, DENSE, OURS]
    with jax.default_matmul_precision("highest"):
        result["beside"] = compare(beside, "float32", names, given.rounds, torch_device or "cpu")
    print(f"\n{beside.texts} texts × {beside.videos} videos, M={beside.frames}, float32, highest")
    print(table(result["beside"]))
    if not torch_device:
        print("PyTorch is not installed: (a) was not measured")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        if given.profile:
            profiled(all_pairs, given.out / "profile")


def _torch_device() -> str | None:
    """Return the device of PyTorch: a GPU if there is one, None if PyTorch is not installed."""
    if not has_torch():
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    run_command(main)
