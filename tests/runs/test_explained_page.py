"""report.html of systems that explain themselves: from a config and its data to what stands on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import pytest

from data_prep.syntax.storing import store_syntax
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.data.syntax import Syntax
from eaglenet_jax.metrics.score_report import MeasureOptions
from eaglenet_jax.reports.stage_results import Selection
from eaglenet_jax.runs.evaluate import EvaluatedStage, stage_result
from eaglenet_jax.runs.evaluate_split import evaluate_split
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.page import measure_stage, write_run_page
from eaglenet_jax.runs.workdir import LoadedCheckpoint
from tests.data.prepared import write_prepared


def told(texts: Sequence[str]) -> Iterator[Syntax]:
    """The syntax, in characters, of "clip 0 told in way 1": one verb, two nouns."""

    def spans(text: str, *words: str) -> tuple[tuple[int, int], ...]:
        return tuple((text.index(word), text.index(word) + len(word)) for word in words)

    for text in texts:
        yield Syntax(spans(text, "told"), spans(text, "clip", "way"), (), (0, 0), ())


def page_of(system: str, folder: Path) -> str:
    """The page of a system with random numbers on five clips."""
    prepared = write_prepared(folder / "prepared")
    store_syntax(prepared, "by hand", told)
    fields = (f"data.prepared={prepared}", "selection=test", "clip.image_size=16", "clip.patch_size=4")
    config = load_config(f"demo:tiny,{system}", [f"--config.{field}" for field in fields])
    experiment = open_experiment(config)
    params = experiment.system.init(jax.random.key(0))
    evaluation = evaluate_split(experiment, params, "test")
    loaded = LoadedCheckpoint(
        folder=folder, step=0, selection=Selection.STEP, selection_note="", seed=0, converted_from=None, fps=None,
        sampling={}, data_fingerprint=None, config=config, params=params,
    )  # fmt: skip
    result = stage_result(experiment, str(folder), {"test": evaluation}, loaded, seconds=0.0)
    stage = EvaluatedStage(result, experiment, params, evaluation)
    report = measure_stage(stage, options=MeasureOptions(resamples=20))
    return write_run_page(folder / "report.html", [result], stage, report).read_text()


# Each compiles its encoders and its head.
@pytest.mark.long
@pytest.mark.parametrize(
    ("system", "words", "attended"), [("shenet", ["verb “told”", "noun “clip”", "noun “way”"], 0), ("crosstvr", [], 1)]
)
def test_the_page_shows_what_the_head_looked_at(system, words, attended, tmp_path) -> None:
    page = page_of(system, tmp_path)
    rows = re.findall(r"<dt>(\w+ “\w+”)</dt><dd>(.*?)</dd>", page)
    assert sorted({name for name, _ in rows}) == sorted(words)
    # Each verb has its frames: two, or as many as the clip has.
    assert all(pictures.count("<img") in (1, 2) for name, pictures in rows if name.startswith("verb"))
    assert page.count("Frames are dark where the second stage looks least") == attended


@pytest.mark.long
@pytest.mark.parametrize(("system", "drawn"), [("tmass", True), ("clip4clip", False)])
def test_the_page_of_stochastic_texts_has_the_lengths_of_their_radii(system, drawn, tmp_path) -> None:
    page = page_of(system, tmp_path)
    assert (re.search(r"pairs that belong together: mean \d", page) is not None) == drawn
