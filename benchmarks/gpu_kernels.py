"""Part 4 of the GPU visit: the kernels that take longest in a trace, with bytes and FLOP as the compiler sees them."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.compiled_program import Program
from benchmarks.gpu_steps import Programs
from benchmarks.random_features import Sizes, gallery, random_params, released_fields
from benchmarks.train_step_ours import OurStep, measured_system, random_batch
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.scoring.gallery import make_score

LISTED, SHOWN = 60, 10  # operations that are kept, and those of the table
RUNS = 3


def scoring_program(sizes: Sizes, dtype: str, kernel: str = "none") -> tuple[str, Callable[[], Any]]:
    """Compile the scoring of one block; return the program's text, and a function that runs it."""
    head = EagleNet(**released_fields(sizes, dtype)).with_scoring_kernel(kernel)
    parts, params = make_score(head), random_params(head)
    texts, videos = jax.device_put(gallery(sizes))
    given = params, parts.prepare_text(params, texts), parts.prepare_video(params, videos), Draws(jax.random.key(5))
    program = parts.block.lower(*given).compile()
    return program.as_text(), lambda: jax.block_until_ready(program(*given))


def traced_step(programs: Programs) -> tuple[str, Callable[[], Any]]:
    """Take a compiled training step; return as `scoring_program`."""
    sizes = programs.sizes
    measured = measured_system(sizes)
    batch = random_batch(sizes, measured.clip, measured.system.max_words)
    step = OurStep(measured.system, measured.params, measured.settings, batch, programs.of(sizes))
    return step.compiled.as_text(), step


def longest(text: str, run: Callable[[], Any], peak: float, bytes_per_second: float) -> list[dict[str, Any]]:
    """Trace a program and return its longest operations.

    Args:
        text: Of the compiled program.
        run: Runs it and returns when it is done.
        peak: FLOP/s of the device, measured.
        bytes_per_second: Of its memory, measured.
    """
    run()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(RUNS):
                run()
        seconds, calls = operation_seconds(Path(folder))
    costs = {plain_name(cost.operation.name): cost for cost in Program(text).costs(unknown_trips=1)}
    whole = sum(seconds.values())
    rows = []
    for name in sorted(seconds, key=lambda name: -seconds[name])[:LISTED]:
        cost, once = costs.get(plain_name(name)), seconds[name] / calls[name]
        row: dict[str, Any] = {
            "operation": name,
            "seconds": seconds[name] / RUNS,
            "calls": calls[name] / RUNS,
            "share": seconds[name] / whole,
            "bytes": None,
            "flops": None,
            "bound": None,
            "source": "",
        }
        if cost:
            memory, arithmetic = (cost.read + cost.written) / bytes_per_second, cost.flops / peak
            row |= {
                "bytes": cost.read + cost.written,
                "flops": cost.flops,
                "bound": "memory" if memory >= arithmetic else "arithmetic",
                "of_bound": max(memory, arithmetic) / once,
                "source": "/".join(cost.operation.source.split("/")[-2:]),
            }
        rows.append(row)
    return rows


def plain_name(operation: str) -> str:
    """Return an operation's name as its GPU kernel bears it."""
    return operation.replace(".", "_").replace("-", "_")


def operation_seconds(folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Return seconds and calls of every operation in the newest trace of a folder."""
    newest = max(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    with gzip.open(newest, "rt") as stream:
        events = json.load(stream)["traceEvents"]
    streams = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"].startswith("Stream")
    }
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if streams:  # a GPU: other lines of the trace say the same again
            name = _of_stream(event, name) if (event.get("pid"), event.get("tid")) in streams else None
        if event.get("ph") == "X" and name:
            seconds[name] += event["dur"] / 1e6
            calls[name] += 1
    return dict(seconds), dict(calls)


def _of_stream(event: dict[str, Any], operation: str | None) -> str | None:
    """Return the operation of an event; of a CUDA graph, all of whose kernels bear the graph's name, the kernel."""
    if operation and not operation.startswith("command_buffer"):
        return operation
    return event.get("name")


def kernels_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `longest` as markdown."""
    lines = [
        "| ms | of all | calls | MB a call | GFLOP a call | bound by | of that bound | operation | source |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows[:SHOWN]:
        known = "| – | – | – | – |"
        if row["bytes"] is not None:
            known = f"| {row['bytes'] / 1e6:.1f} | {row['flops'] / 1e9:.2f} | {row['bound']} | {row['of_bound']:.0%} |"
        times = f"| {1e3 * row['seconds']:.3f} | {row['share']:.1%} | {row['calls']:.0f} "
        lines.append(f"{times}{known} `{row['operation']}` | `{row['source']}` |")
    return "\n".join(lines)
