"""Results of runs, and the table of them on the terminal."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from eaglenet_jax.reports.score_text import results_table, small_gallery_line
from eaglenet_jax.wording import counted


class Selection(enum.StrEnum):
    """Basis on which the evaluated checkpoint was chosen."""

    VALIDATION = "validation"
    TEST = "test"
    STEP = "step"  # nothing: a step was asked for
    UNKNOWN = "unknown"  # another program, which did not record it

    @classmethod
    def parse(cls, text: str) -> tuple[Selection, str]:
        """Read a saved selection → (selection, note). Older programs saved a sentence where it was not a split."""
        if text in tuple(cls):
            return cls(text), ""
        word, _, rest = text.partition(": ")
        if word == "nothing":
            return cls.STEP, rest
        return cls.UNKNOWN, rest if word == "unknown" else text


@dataclasses.dataclass(frozen=True)
class StageResult:
    """Metrics of the checkpoint of one stage, and what they depend on.

    Attributes:
        name: Of the config.
        system: Name of the system.
        workdir: Where the checkpoint lies.
        metrics: By split, {"t2v": {"R@1": percent, …}, "v2t": …, "Rsum": …}.
        gallery: By split, [texts, videos].
        best_step: Updates before the checkpoint was saved.
        selection: What chose the checkpoint.
        selection_note: More about that, where `selection` does not say all; else empty.
        preset: Of the config.
        config_hash: See `config_hash`.
        seconds: Of training; 0 for an evaluation.
        missing: By split, [captions, videos] that are lost and counted as misses.
        seed: Of training.
        noise_seed: Of the evaluation's noise.
        split_hash: By split, of its ids and captions.
        versions: Of packages, at the evaluation.
        zero_shot: {"name": …, split: metrics} of CLIP before training.
        noise: By split, mean and deviation over seeds of the noise.
        chance: By split, metrics of random scores.
        claimed: By a paper, see the config.
        length: The fields of the config that say when training ended; empty where that was not noted.
    """

    name: str
    system: str
    workdir: str
    metrics: dict[str, Any]
    gallery: dict[str, list[int]]
    best_step: int
    selection: Selection
    preset: str
    config_hash: str
    seconds: float
    selection_note: str = ""
    missing: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    seed: int = 0
    noise_seed: int = 0
    split_hash: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    zero_shot: dict[str, Any] = dataclasses.field(default_factory=dict)
    noise: dict[str, Any] = dataclasses.field(default_factory=dict)
    chance: dict[str, Any] = dataclasses.field(default_factory=dict)
    claimed: dict[str, Any] = dataclasses.field(default_factory=dict)
    length: dict[str, float] = dataclasses.field(default_factory=dict)


def result_rows(results: Sequence[StageResult], split: str) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a table: chance, CLIP before training, and every stage."""
    chance = results[-1].chance.get(split)
    before = next((result.zero_shot for result in reversed(results) if split in result.zero_shot), None)
    rows = [("chance", chance)] if chance else []
    if before:
        rows.append((before["name"], before[split]))
    return rows + [(f"{result.name} ({result.system})", result.metrics[split]) for result in results]


def chosen_on(result: StageResult) -> str:
    """Say how the checkpoint was chosen, in a sentence without its full stop."""
    sentence = {
        Selection.VALIDATION: "best checkpoint chosen on validation",
        Selection.TEST: "best checkpoint chosen on the test split itself, as the released programs do",
        Selection.STEP: "no split chose the checkpoint",
        Selection.UNKNOWN: "what chose the checkpoint is unknown",
    }[result.selection]
    return f"{sentence}: {result.selection_note}" if result.selection_note else sentence


def noise_rows(result: StageResult, split: str) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a stage's mean and deviation over seeds of its noise, where several were asked for and differ."""
    noise = result.noise.get(split)
    if not noise or noise["same"]:
        return []
    return [(f"mean of {noise['seeds']} noise seeds", noise["mean"]), ("± deviation", noise["deviation"])]


def print_results(
    results: Sequence[StageResult],
    split: str,
    more: Sequence[tuple[str, Any]] = (),
    below: Sequence[str] | None = None,
    written: Sequence[Path] = (),
) -> None:
    """Print the table of all stages and of chance.

    Args:
        results: Of the stages of a run, the last one last.
        split: The split of the table; the first split of the results where they lack it.
        more: Rows at the end of the table.
        below: Lines under the table, of an evaluation; without them a line of what is lost stands there.
        written: Files and folders that are listed at the end.
    """
    if jax.process_index():
        return  # the first process speaks for all
    last = results[-1]
    split = split if split in last.metrics else next(iter(last.metrics))  # data without a test split
    texts, videos = last.gallery[split]
    print(f"\n{split} split: {counted(texts, 'text')}, {counted(videos, 'video')}, percent; {chosen_on(last)}")
    rows = [*result_rows(results, split), *noise_rows(last, split), *more]
    print(results_table(rows))
    if line := small_gallery_line(rows):
        print(line)
    for line in below or ():
        print(line)
    texts, videos = last.missing.get(split, [0, 0])
    if below is None and (texts or videos):  # the lines of an evaluation say it themselves
        print(f"{texts} more captions and {videos} more videos are lost; as queries they count as misses")
    for result in results:
        trained = f" of a run of {result.seconds:.0f} s" if result.seconds else ""
        print(f"{result.name}: checkpoint of step {result.best_step}{trained}, in {result.workdir}")
    for file in written:
        print(f"  {file}")
