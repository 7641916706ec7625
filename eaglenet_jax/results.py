"""Results of runs: metrics.json, the table on the terminal, and the picture of retrieved clips."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_prep.atomic import write_atomically
from eaglenet_jax.experiment import Evaluation
from eaglenet_jax.retrieval.strips import draw_retrieval, query_results
from eaglenet_jax.retrieval.summary import results_table

RESULT_FILE = "metrics.json"


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What one run reached.

    metrics: by split, {"t2v": {"R@1": percent, …}, "v2t": …, "Rsum": …}. gallery: by split, [texts, videos].
    missing: by split, [captions, videos] that are lost and counted as misses. best_step: of the checkpoint that was
    evaluated, chosen on `selection`.
    """

    name: str
    system: str
    workdir: str
    metrics: dict[str, Any]
    gallery: dict[str, list[int]]
    best_step: int
    selection: str
    preset: str
    config_hash: str
    seconds: float
    missing: dict[str, list[int]] = dataclasses.field(default_factory=dict)


def write_result(result: StageResult, workdir: Path) -> None:
    """metrics.json, whole or not at all: the metrics by split on top, the rest under "run"."""
    run = {key: value for key, value in dataclasses.asdict(result).items() if key not in ("metrics", "workdir")}
    write_atomically(workdir / RESULT_FILE, json.dumps({**result.metrics, "run": run}, indent=1).encode())


def read_result(workdir: Path) -> StageResult | None:
    """The result of a finished run, None where there is none."""
    file = Path(workdir) / RESULT_FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        return StageResult(workdir=str(workdir), **content.pop("run"), metrics=content)
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"warning: {file} is damaged; it is made again", file=sys.stderr)
        return None


def print_results(results: Sequence[StageResult], split: str) -> None:
    """The table of all stages beside chance, and where things were written."""
    if jax.process_index():
        return  # the first process speaks for all
    texts, videos = results[-1].gallery[split]
    rows = [(f"{result.name} ({result.system})", result.metrics[split]) for result in results]
    print(
        f"\n{split} split: {texts} texts, {videos} videos, percent; best checkpoint chosen on {results[-1].selection}"
    )
    print(results_table(rows, shape=(texts, videos)))
    texts, videos = results[-1].missing.get(split, [0, 0])
    if texts or videos:
        print(f"{texts} more captions and {videos} more videos are lost; as queries they count as misses")
    for result in results:
        trained = f" of a run of {result.seconds:.0f} s" if result.seconds else ""
        print(f"{result.name}: checkpoint of step {result.best_step}{trained}, in {result.workdir}")
    folder = Path(results[-1].workdir)
    for file in ("metrics.json", "retrieval.png", "config.json", "events", "checkpoints"):
        if (folder / file).exists():
            print(f"  {folder / file}")


def draw_strips(file: Path, evaluation: Evaluation, config: Any) -> None:
    """retrieval.png: for a dozen queries spread over the split, the five best videos as strips of frames."""

    def frames_of(video: int) -> np.ndarray:
        frames, mask = evaluation.split.frames(video, config.max_frames)
        return frames[mask]

    queries = query_results(evaluation.scores, evaluation.captions.texts, frames_of, text_video=evaluation.text_video)
    draw_retrieval(file, queries, title=f"{config.name}: text-to-video retrieval, {evaluation.split.name} split")
