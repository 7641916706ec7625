"""Benchmark of an index of videos: insertion, queries, recall, reranking, disk space and encoding.

    python -m benchmarks.search [--rows=10000,100000] [--folder=DIR] [--encode] [--json]

Rows come from 10,000 seeded clusters of unit vectors, cosine 0.8 within a cluster, with the frame features of 12 frames
of width 512, through the same functions that `search index` and `search query` use. Queries are new members
of clusters; recall is against exact cosines of all rows, computed apart. 1,000,000 rows take 20 GB of disk.
"""

from __future__ import annotations

import functools
import json
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import announce, machine, median, median_seconds
from benchmarks.scratch import temporary_folder
from configs import msrvtt
from eaglenet_jax.command import Parser, run_command, whole_numbers
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.runs.model_formats import model_settings
from eaglenet_jax.search.model import SearchModel, unit
from eaglenet_jax.search.rows import FileState, StoredWindow, StoreSettings, window_id
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule
from eaglenet_jax.system import build_system

SUMMARY = "Rows in, queries out, recall, reranking, room and encoding of an index of videos."
WIDTH, FRAMES, CLUSTERS, COSINE = 512, 12, 10_000, 0.8
COMMIT = 2000  # rows, as when indexing
QUERIES, BEST = 100, 100
THUMBNAIL_BYTES = 5000
DEPTHS = (0, 15, 100, 500)
ENCODED_AT_A_TIME = 8


@functools.cache
def _centres() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(CLUSTERS, WIDTH)))


def members(count: int, seed: int) -> np.ndarray:
    """Draw unit vectors [count, d] in random clusters; two of one cluster have cosine 0.8 on average."""
    rng = np.random.default_rng(seed)
    centres = _centres()[rng.integers(CLUSTERS, size=count)]
    return unit(np.sqrt(COSINE) * centres + np.sqrt(1 - COSINE) * unit(rng.normal(size=(count, WIDTH))))


def _windows(start: int, pooled: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> list[StoredWindow]:
    state = FileState("0" * 32, 1, 1)
    rule = WindowRule()
    windows = []
    for number, vector in enumerate(pooled, start):
        path, begin = f"/videos/{number // 450:06d}.mp4", number % 450 * rule.step
        windows.append(
            StoredWindow(
                window_id(path, state.hash, begin),
                path,
                begin,
                begin + rule.seconds,
                tuple(begin + float(second) for second in range(FRAMES)),
                rng.bytes(THUMBNAIL_BYTES),
                pooled=vector,
                frames=np.roll(noise, number % noise.size),
                file=state,
            )
        )
    return windows


def measure_store(rows: int, folder: Path) -> dict[str, Any]:
    """Create, query and delete one index of `rows` rows."""
    announce(f"an index of {rows:,} rows")
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(FRAMES, WIDTH)).astype(np.float16)
    queries = members(QUERIES, seed=2)
    place = folder / f"rows_{rows}"
    store = Store.open_or_create(str(place), StoreSettings("benchmark", "", WIDTH, FRAMES, WindowRule()))
    best = np.full((QUERIES, BEST), -2.0, np.float32)  # cosines
    who = np.zeros((QUERIES, BEST), "U32")
    adding = 0.0
    for number, start in enumerate(range(0, rows, COMMIT)):
        pooled = members(min(COMMIT, rows - start), seed=100 + number)
        windows = _windows(start, pooled, noise, rng)
        began = time.perf_counter()
        store.add(windows)
        adding += time.perf_counter() - began
        scores = np.concatenate([best, queries @ pooled.T], axis=1)
        names = np.concatenate([who, np.broadcast_to([w.id for w in windows], (QUERIES, len(windows)))], axis=1)
        order = np.argpartition(-scores, BEST - 1, axis=1)[:, :BEST]
        best, who = np.take_along_axis(scores, order, axis=1), np.take_along_axis(names, order, axis=1)
    exact = np.take_along_axis(who, np.argsort(-best, axis=1), axis=1).tolist()

    def asked(frames: bool) -> dict[str, Any]:
        found, seconds = [], []
        for vector in queries:
            began = time.perf_counter()
            found.append([window.id for window in store.nearest(vector, BEST, frames=frames)])
            seconds.append(time.perf_counter() - began)
        return {
            "p50_ms": 1e3 * median(seconds),
            "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
            "recall@10": _recall(exact, found, 10),
            "recall@100": _recall(exact, found, 100),
        }

    result: dict[str, Any] = {"rows": rows, "rows_per_second": rows / adding, "exact": asked(False)}
    began = time.perf_counter()
    store.tidy(exact_rows=0)
    result["index_seconds"] = time.perf_counter() - began
    result["indexed"] = asked(False)
    result["indexed_with_frames"] = asked(True)
    result["bytes_per_row"] = store.size / rows
    result["bytes_per_hour_of_video"] = result["bytes_per_row"] * 3600 / WindowRule().step
    result["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    shutil.rmtree(place)
    return result


def _recall(exact: list[list[str]], found: list[list[str]], best: int) -> float:
    """Return the mean share of the true best rows that a search finds."""
    return float(np.mean([len({*a[:best]} & {*b[:best]}) / best for a, b in zip(exact, found, strict=True)]))


def _full_size_model(encoders: bool) -> SearchModel:
    """Build EagleNet on ViT-B/32 with random parameters; without the encoders' if only the head is measured."""
    settings = model_settings(msrvtt.get_config("b32"))
    system = build_system(settings)
    ids = jnp.zeros(2, jnp.uint32)
    text = TextFeatures(ids, jnp.ones((2, WIDTH)), None, jnp.ones((2, 4), bool))
    video = VideoFeatures(ids, jnp.ones((2, FRAMES, WIDTH)), None, jnp.ones((2, FRAMES), bool))

    def start(key: jax.Array) -> Any:
        state = system.head.initial_state()
        return system.head.init(key, text, video, state, Draws(key, train=True), whole, method="loss")["params"]

    key = jax.random.key(0)
    params = jax.jit(system.init)(key) if encoders else {"head": jax.jit(start)(key)}
    return SearchModel(settings, system, params, "", "benchmark")


def measure_reranking(rounds: int = 20) -> dict[str, float]:
    """Measure milliseconds of the head for one query, by the number of windows scored."""
    model = _full_size_model(encoders=False)
    rng = np.random.default_rng(3)
    query = TextFeatures(
        np.zeros(1, np.uint32), rng.normal(size=(1, WIDTH)).astype(np.float32), None, np.ones((1, 4), bool)
    )
    frames = rng.normal(size=(max(DEPTHS), FRAMES, WIDTH)).astype(np.float32)
    windows = VideoFeatures(np.arange(max(DEPTHS), dtype=np.uint32), frames, None, np.ones((max(DEPTHS), FRAMES), bool))
    taken = {}
    for depth in DEPTHS:
        some = jax.tree.map(lambda leaf, depth=depth: leaf[:depth], windows)
        taken[str(depth)] = (
            median_seconds(functools.partial(model.score_windows, query, some), rounds) if depth else 0.0
        )
    return {depth: 1e3 * seconds for depth, seconds in taken.items()}


def measure_encoding(rounds: int = 3) -> dict[str, float]:
    """Measure windows/s through ViT-B/32 and the time for 1000 hours of video, without decoding."""
    model = _full_size_model(encoders=True)
    frames = np.random.default_rng(4).integers(0, 256, (ENCODED_AT_A_TIME, FRAMES, 224, 224, 3), np.uint8)
    counts = [FRAMES] * ENCODED_AT_A_TIME
    seconds = median_seconds(lambda: jax.block_until_ready(model.encode_windows(frames, counts)), rounds)
    rate = ENCODED_AT_A_TIME / seconds
    return {"windows_per_second": rate, "hours_per_1000_hours": 1000 / WindowRule().step / rate}


def as_text(report: dict[str, Any]) -> str:
    """Format the report."""
    lines = [", ".join(f"{name} {value}" for name, value in report["machine"].items()), ""]
    for store in report["stores"]:
        lines.append(
            f"{store['rows']:,} rows: {store['rows_per_second']:,.0f} rows/s in, indexed in "
            f"{store['index_seconds']:.1f} s, "
            f"{store['bytes_per_row'] / 1e3:.1f} kB a row, "
            f"{store['bytes_per_hour_of_video'] / 1e6:.1f} MB an hour of video, "
            f"peak memory {store['peak_memory_gib']:.2f} GiB"
        )
        for name in ("exact", "indexed", "indexed_with_frames"):
            asked = store[name]
            lines.append(
                f"    {name.replace('_', ' '):24s} p50 {asked['p50_ms']:7.1f} ms   p95 {asked['p95_ms']:7.1f} ms   "
                f"recall@10 {asked['recall@10']:.3f}   @100 {asked['recall@100']:.3f}"
            )
    taken = ", ".join(f"{depth}: {ms:.1f} ms" for depth, ms in report["rerank_ms"].items())
    lines += ["", f"the head scores again, EagleNet at 12 frames and width 512: {taken}"]
    if "encoding" in report:
        rate, hours = report["encoding"]["windows_per_second"], report["encoding"]["hours_per_1000_hours"]
        lines.append(f"ViT-B/32 encodes {rate:.2f} windows/s: {hours:.1f} hours for 1000 hours of video")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = Parser(prog="python -m benchmarks.search", description=SUMMARY)
    parser.add_argument(
        "--rows", default="10000,100000", type=whole_numbers, help="sizes of indexes, default %(default)s"
    )
    parser.add_argument("--folder", type=Path, help="where the indexes are made, by default a temporary folder")
    parser.add_argument(
        "--encode", action="store_true", help="also encode windows with a ViT-B/32 of random parameters"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    with temporary_folder(given.folder) as folder:
        report: dict[str, Any] = {
            "machine": machine(),
            "stores": [measure_store(rows, Path(folder)) for rows in given.rows],
        }
    announce("reranking")
    report["rerank_ms"] = measure_reranking()
    if given.encode:
        report["encoding"] = measure_encoding()
    print(json.dumps(report, indent=1) if given.json else as_text(report))


if __name__ == "__main__":
    run_command(main)
