"""Results of runs: metrics.json, the table on the terminal, and the picture of retrieved clips."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.metrics.summary import results_table
from eaglenet_jax.reports.strips import draw_retrieval, query_results
from eaglenet_jax.runs.split import Evaluation

RESULT_FILE = "metrics.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What one run reached.

    metrics: by split, {"t2v": {"R@1": percent, …}, "v2t": …, "Rsum": …}. gallery: by split, [texts, videos].
    missing: by split, [captions, videos] that are lost and counted as misses. best_step: of the checkpoint that was
    evaluated. selection: the split that chose it, "validation" or "test", or a sentence where that is not known. seed,
    noise_seed: of training, of the evaluation's noise. split_hash: by split, of its ids and captions. versions: of
    packages, at the evaluation. zero_shot: {"name": …, split: metrics} of the CLIP before training. noise: by split,
    mean and deviation over seeds of the noise. chance: by split, metrics of random scores. claimed: by a paper, see the
    config.
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
    seed: int = 0
    noise_seed: int = 0
    split_hash: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    zero_shot: dict[str, Any] = dataclasses.field(default_factory=dict)
    noise: dict[str, Any] = dataclasses.field(default_factory=dict)
    chance: dict[str, Any] = dataclasses.field(default_factory=dict)
    claimed: dict[str, Any] = dataclasses.field(default_factory=dict)


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


def result_rows(results: Sequence[StageResult], split: str) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a table: chance, CLIP before training, and every stage."""
    chance = results[-1].chance.get(split)
    before = next((result.zero_shot for result in reversed(results) if split in result.zero_shot), None)
    rows = [("chance", chance)] if chance else []
    if before:
        rows.append((before["name"], before[split]))
    return rows + [(f"{result.name} ({result.system})", result.metrics[split]) for result in results]


def chosen_on(result: StageResult) -> str:
    """What chose the checkpoint, as a sentence without its end."""
    if result.selection == "test":
        return "best checkpoint chosen on the test split itself, as the released programs do"
    if result.selection == "validation":
        return "best checkpoint chosen on validation"
    return f"what chose the checkpoint is {result.selection}"


def noise_rows(result: StageResult, split: str) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a stage's mean and deviation over seeds of its noise, where several were asked for and differ."""
    noise = result.noise.get(split)
    if not noise or noise["same"]:
        return []
    return [(f"mean of {noise['seeds']} noise seeds", noise["mean"]), ("± deviation", noise["deviation"])]


def print_results(
    results: Sequence[StageResult], split: str, more: Sequence[tuple[str, Any]] = (), below: Sequence[str] | None = None
) -> None:
    """The table of all stages beside chance. more: rows at its end. below: lines of an evaluation; without them, of a
    training, it says where things were written.
    """
    if jax.process_index():
        return  # the first process speaks for all
    last = results[-1]
    split = split if split in last.metrics else next(iter(last.metrics))  # data without a test split
    texts, videos = last.gallery[split]
    print(f"\n{split} split: {texts} texts, {videos} videos, percent; {chosen_on(last)}")
    print(results_table([*result_rows(results, split), *noise_rows(last, split), *more]))
    for line in below or ():
        print(line)
    texts, videos = last.missing.get(split, [0, 0])
    if below is None and (texts or videos):  # the lines of an evaluation say it themselves
        print(f"{texts} more captions and {videos} more videos are lost; as queries they count as misses")
    for result in results:
        trained = f" of a run of {result.seconds:.0f} s" if result.seconds else ""
        print(f"{result.name}: checkpoint of step {result.best_step}{trained}, in {result.workdir}")
    if below is not None:
        return
    folder = Path(last.workdir)
    for file in ("metrics.json", REPORT_FILE, "retrieval.png", "config.json", "events", "checkpoints"):
        if (folder / file).exists():
            print(f"  {folder / file}")


def draw_strips(file: Path, evaluation: Evaluation, config: Any) -> None:
    """retrieval.png: for a dozen queries spread over the split, the five best videos as strips of frames."""
    encoded = evaluation.encoded
    queries = query_results(
        evaluation.scores,
        encoded.captions.texts,
        lambda video: encoded.frames_of(video, config.max_frames),
        text_video=encoded.text_video,
    )
    draw_retrieval(file, queries, title=f"{config.name}: text-to-video retrieval, {encoded.split.name} split")
