"""Part 2 of the GPU visit: seconds, share of peak and R@K of scoring a gallery, the dense forms beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu_right import TYPES, kernel_words
from benchmarks.measure import at_once, median_seconds
from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from benchmarks.scoring import compare
from benchmarks.scoring_counts import folded_products, mflop
from benchmarks.scoring_ways import ALL_NODES, DENSE, OURS, TITLES, TORCH, has_torch
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.layers import graph_kernel
from eaglenet_jax.layers.graph_kernel import Launch
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.scoring.gallery import ScoringOptions, make_score, score_gallery

PLAIN = ("–", "–")  # in a table, in place of a launch
QUEUED = 10  # blocks that the device is given at a time, so that nothing waits for the host
SIGNAL = 0.05  # gives an R@1 between 0 and 100, so that rounding can change it
# By type and frames, the launches of the kernel that are timed: first the one that it takes, then those of which the
# compiler leaves next to nothing outside registers. Pairs of (warps, columns).
LAUNCHES: dict[tuple[str, int], tuple[tuple[int, int], ...]] = {
    ("bfloat16", 12): ((2, 128), (2, 64), (2, 32), (2, 16), (1, 32), (4, 64), (4, 32)),
    ("bfloat16", 64): ((4, 128), (4, 64), (4, 32), (2, 32), (8, 32)),
    ("float32, default", 12): ((8, 128), (2, 64), (2, 32), (4, 32), (4, 16)),
    ("float32, default", 64): ((8, 128), (8, 32), (4, 32)),
}


def queued_seconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the seconds of a function that dispatches work, where the device always has the next one waiting."""

    def queued() -> None:
        jax.block_until_ready([function() for _ in range(QUEUED)])

    return median_seconds(queued, rounds) / QUEUED


def matmul_peak(width: int, rounds: int) -> float:
    """Measure the FLOP/s of a product of two bfloat16 matrices [width, width]."""
    product = jax.jit(lambda x: x @ x)
    matrix = jax.random.normal(jax.random.key(0), (width, width), jnp.bfloat16)
    return 2.0 * width**3 / queued_seconds(lambda: product(matrix), rounds)


def whole_gallery(
    sizes: Sizes, peak: float, rounds: int, types: Sequence[str], kernel: str, exact: dict[Sizes, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """Measure ours by type: seconds of all pairs and of the evaluation after encoding, R@K and agreement, a row a type.

    types: names of `TYPES`. kernel: as of `ScoringOptions`. exact: scores in float32 at `highest` by gallery, that the
    rows are compared with; those of a call without a kernel are put into it.
    """
    texts, videos = gallery(sizes, SIGNAL)
    relevance = np.arange(sizes.texts) % sizes.videos

    def make(dtype: str, precision: str) -> Callable[[str], np.ndarray]:
        head = EagleNet(**released_fields(sizes, dtype))
        params = random_params(head)

        def score(kernel: str) -> np.ndarray:
            options = ScoringOptions(kernel=kernel)
            with jax.default_matmul_precision(precision):
                return score_gallery(head, params, texts, videos, draws=Draws(jax.random.key(5)), options=options)

        return score

    made = {name: make(*TYPES[name]) for name in types}
    jobs = {name + kernel_words(kernel): partial(made[name], kernel) for name in types}
    found = at_once(jobs)  # compiles
    if (first := next(iter(TYPES))) in found:
        exact[sizes] = found[first]
    right = exact.get(sizes)
    for name, score in jobs.items():
        scores = found[name]

        def evaluate(score: Callable[[], np.ndarray] = score) -> dict[str, Any]:
            return retrieval_metrics(score(), relevance)

        metrics = evaluate()["t2v"]
        seconds, evaluation_seconds = median_seconds(score, rounds), median_seconds(evaluate, rounds)
        flops = mflop(folded_products(sizes)) * 1e6 * scores.size
        same = None if right is None else 100.0 * float(np.mean(scores.argmax(1) == right.argmax(1)))
        yield {
            "type": name,
            "frames": sizes.frames,
            "pairs": scores.size,
            "seconds": seconds,
            "evaluation_seconds": evaluation_seconds,
            "teraflop_per_second": flops / seconds / 1e12,
            "share_of_peak": flops / seconds / peak,
            **{depth: metrics[depth] for depth in ("R@1", "R@5", "R@10")},
            "largest_difference": None if right is None else float(np.abs(scores - right).max()),
            "same_first_percent": same,
        }


def by_block(sizes: Sizes, blocks: Sequence[tuple[int, int]], kernel: str, rounds: int) -> list[dict[str, Any]]:
    """Measure bfloat16 by block: seconds of the gallery, and of one block alone as the device computes it; rows."""
    texts, videos = gallery(sizes)
    head = EagleNet(**released_fields(sizes, "bfloat16"))
    params, draws = random_params(head), Draws(jax.random.key(5))
    parts = make_score(head.with_scoring_kernel(kernel))

    def whole(block: tuple[int, int]) -> np.ndarray:
        return score_gallery(head, params, texts, videos, draws=draws, options=ScoringOptions(*block, kernel=kernel))

    given = parts.prepare_text(params, texts), parts.prepare_video(params, videos)

    def alone(block: tuple[int, int]) -> float:
        taken = parts.take_texts(given[0], np.arange(block[0])), parts.take_videos(given[1], np.arange(block[1]))
        return queued_seconds(lambda: parts.block(params, *taken, draws), rounds) / (block[0] * block[1])

    at_once({str(block): partial(whole, block) for block in blocks})  # compiles
    return [
        {
            "type": "bfloat16" + kernel_words(kernel),
            "frames": sizes.frames,
            "block": f"{block[0]} × {block[1]}",
            "seconds": median_seconds(partial(whole, block), rounds),
            "device_microseconds_a_pair": 1e6 * alone(block),
        }
        for block in blocks
    ]


def by_launch(
    sizes: Sizes, name: str, launches: Sequence[tuple[int, int]], kernel: str, rounds: int
) -> list[dict[str, Any]]:
    """Measure one block as the device computes it, by how a program of the kernel runs, the plain form first; rows.

    Args:
        sizes: Of the block.
        name: Of `TYPES`.
        launches: As in `LAUNCHES`.
        kernel: As of `ScoringOptions`.
        rounds: Timed runs, of which the median counts.
    """
    dtype, precision = TYPES[name]
    texts, videos = jax.device_put(gallery(sizes))
    head, draws = EagleNet(**released_fields(sizes, dtype)), Draws(jax.random.key(5))
    params = random_params(head)

    def lowered(kernel: str) -> tuple[Any, Any]:
        parts = make_score.__wrapped__(head.with_scoring_kernel(kernel))  # another launch is another program
        given = params, parts.prepare_text(params, texts), parts.prepare_video(params, videos), draws
        return parts.block.lower(*given), given

    with jax.default_matmul_precision(precision):
        programs = {"": lowered("none")}
        for launch in launches:
            with mock.patch.object(graph_kernel, "choose_launch", lambda *_, launch=launch: Launch(*launch)):
                programs[str(launch)] = lowered(kernel)
    compiled = at_once({name: program.compile for name, (program, _) in programs.items()})
    runs = [partial(compiled[name], *given) for name, (_, given) in programs.items()]
    scores = [np.asarray(run(), np.float32) for run in runs]
    return [
        {
            "type": name + kernel_words(kernel if launch else "none"),
            "frames": sizes.frames,
            "launch": launch,
            "device_microseconds_a_pair": 1e6 * queued_seconds(run, rounds) / scores[0].size,
            "largest_difference": float(np.abs(found - scores[0]).max()),
        }
        for launch, run, found in zip([None, *launches], runs, scores, strict=True)
    ]


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
        agreement = "– | –"
        if row["same_first_percent"] is not None:
            agreement = f"{row['largest_difference']:.1e} | {row['same_first_percent']:.1f}"
        lines.append(
            f"| {row['type']} | {row['frames']} | {row['pairs']} | {times} | {row['share_of_peak']:.1%} | {recalls} "
            f"| {agreement} |"
        )
    return "\n".join(lines)


def block_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `by_block` as markdown."""
    lines = [
        "| type | M | texts × videos of a block | seconds of the gallery | µs a pair on the device |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['type']} | {row['frames']} | {row['block']} | {row['seconds']:.3f} "
        f"| {row['device_microseconds_a_pair']:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def launch_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows of `by_launch` as markdown."""
    lines = [
        "| type | M | warps | features of a head at a time | µs a pair on the device | to the plain form |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['type']} | {row['frames']} | {' | '.join(map(str, row['launch'] or PLAIN))} "
        f"| {row['device_microseconds_a_pair']:.3f} | {row['largest_difference']:.1e} |"
        for row in rows
    ]
    return "\n".join(lines)


def beside_table(result: dict[str, Any]) -> str:
    """Format the result of `beside` as markdown."""
    lines = ["| way | pairs/s | ms a pair | ours is … times faster |", "|---|---|---|---|"]
    for name, row in result["ways"].items():
        speed = f"{row['pairs_per_second']:.0f} | {1e3 / row['pairs_per_second']:.4f}"
        lines.append(f"| {TITLES[name]} | {speed} | {row['times_ours']:.1f} |")
    return "\n".join([*lines, "", f"Largest difference between them: {result['largest_difference']:.1e}."])
