"""What a system looks at: measured, printed and drawn, from the intervals of a prepared folder."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.reports.retrieval_drawing import PART
from eaglenet_jax.reports.stage_results import Selection, print_results
from eaglenet_jax.runs.evaluate import EvaluatedStage, LoadedCheckpoint, noise_spread, stage_result
from eaglenet_jax.runs.evaluate_split import Evaluation, evaluate_split, evaluation_draws, score_split
from eaglenet_jax.runs.experiment import Experiment, open_experiment
from eaglenet_jax.runs.page import draw_strips, measure_stage, write_run_page
from tests.data.prepared import FRAME_COUNTS, SIZE, write_prepared

# By caption of the test split, whose frames stand at 0, 1, 2, … s; of eight stored frames 0, 2, 4 and 7 are read.
INTERVALS = {"test1#0": (1.5, 4.5), "test2#0": (0.0, 1.0), "test2#2": (2.0, 9.0), "test4#0": (1.2, 1.8)}
INSIDE = {"test1#0": [1, 2], "test2#0": [0], "test2#2": [2, 3]}  # none of test4's


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = write_prepared(tmp_path_factory.mktemp("pointing") / "tiny")
    file = out / "captions/test.json"
    rows = json.loads(file.read_text())
    for caption in (caption for row in rows for caption in row["captions"]):
        if caption["id"] in INTERVALS:
            caption["interval"] = INTERVALS[caption["id"]]
    file.write_text(json.dumps(rows))
    return out


@pytest.fixture(scope="module")
def stage(folder: Path) -> EvaluatedStage:
    given = {"data.prepared": folder, "clip.image_size": SIZE, "max_frames": 4, "queries": "all", "selection": "test"}
    given["clip.shift_blocks"] = "()"  # with token shift a frame's feature depends on its neighbours
    config = load_config("demo:tiny,xpool", [f"--config.{name}={value}" for name, value in given.items()])
    experiment = open_experiment(config)
    params = jax.jit(experiment.system.init)(jax.random.key(0))
    params["head"]["pooling"]["query"]["kernel"] *= 40.0  # frames of one colour each would weigh nearly alike
    return evaluated(experiment, params, evaluate_split(experiment, params, "test"))


def evaluated(experiment: Experiment, params: dict, evaluation: Evaluation) -> EvaluatedStage:
    loaded = LoadedCheckpoint(Path("w"), 0, Selection.TEST, "", 0, None, None, {}, None, experiment.config, params)
    result = stage_result(experiment, "w", {"test": evaluation}, loaded, 0.0)
    return EvaluatedStage(result, experiment, params, evaluation)


def test_it_is_measured_on_the_right_pairs_of_captions_with_an_interval(stage: EvaluatedStage) -> None:
    encoded = stage.evaluation.encoded
    head = stage.experiment.system.head
    explain = jax.jit(lambda *features: head.apply({"params": stage.params["head"]}, *features, method="explain"))
    weights = np.asarray(explain(encoded.texts, encoded.videos, evaluation_draws(stage.experiment))["frame_weights"])
    shares, chances = [], []
    for row, (name, video) in enumerate(zip(encoded.captions.ids, encoded.text_video, strict=True)):
        if name in INSIDE:
            shares.append(sum(weights[row, video, frame] for frame in INSIDE[name]))
            chances.append(len(INSIDE[name]) / min(4, FRAME_COUNTS["test"][video]))
    found = stage.evaluation.metrics["t2v"]
    assert found["pointing"] == pytest.approx(100 * np.mean(shares), abs=1e-3)
    assert found["pointing_chance"] == pytest.approx(100 * np.mean(chances))
    assert found["pointing_captions"] == 3 and abs(found["pointing"] - found["pointing_chance"]) > 1
    assert stage.evaluation.flat["t2v/pointing"] == found["pointing"]
    assert stage.result.chance["test"]["t2v"]["pointing"] == found["pointing_chance"]
    spread = noise_spread(stage.evaluation, [stage.evaluation])
    assert spread["mean"]["t2v"]["pointing"] == found["pointing"] and "pointing" not in spread["mean"]["v2t"]


def test_the_times_of_shuffled_frames_go_with_them(stage: EvaluatedStage) -> None:
    """Frames in another order are the same frames: X-Pool weighs them by what they show."""
    shuffled = evaluate_split(stage.experiment, stage.params, "test", shuffle_frames=True)
    before, after = (
        [encoded.frame_times(video)[:4].tolist() for video in (1, 2)]
        for encoded in (stage.evaluation.encoded, shuffled.encoded)
    )
    assert before == [[0, 2, 4, 7], [0, 1, 2, 3]] != after and list(map(sorted, after)) == before
    pointing = [each.metrics["t2v"]["pointing"] for each in (stage.evaluation, shuffled)]
    assert pointing[0] == pytest.approx(pointing[1], abs=0.1)


def test_the_table_and_the_page_show_it(stage: EvaluatedStage, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = stage.evaluation.metrics["t2v"]
    print_results([stage.result], "test")
    titles, _, chance, own = capsys.readouterr().out.splitlines()[3:7]
    assert titles.split()[5] == "pointing" and max(map(len, (titles, chance, own))) <= 105
    assert chance.split()[6] == f"{found['pointing_chance']:.1f}" and f"{found['pointing']:.1f}" in own.split()
    page = write_run_page(tmp_path / "report.html", [stage.result], stage, measure_stage(stage)).read_text()
    cells = re.findall(r'data-column="pointing">([\d.]+)</td>', page)
    assert cells == [f"{found['pointing_chance']:.1f}", f"{found['pointing']:.1f}"]
    assert "mean over 3 captions" in page and 'class="described"' in page


def test_a_system_that_weighs_no_frames_has_only_the_chance(stage: EvaluatedStage, tmp_path: Path) -> None:
    system = dataclasses.replace(stage.experiment.system, head=Clip4Clip(16))
    experiment = dataclasses.replace(stage.experiment, system=system)
    params = {**stage.params, "head": {}}
    mean = evaluated(experiment, params, score_split(experiment, params, stage.evaluation.encoded))
    found = mean.evaluation.metrics["t2v"]
    assert "pointing" not in found
    assert found["pointing_chance"] == stage.evaluation.metrics["t2v"]["pointing_chance"]
    page = write_run_page(tmp_path / "report.html", [mean.result], mean, measure_stage(mean)).read_text()
    assert 'data-column="pointing"' not in page and "pointing</th>" not in page and "mean over" not in page


def test_the_picture_marks_the_part_described(stage: EvaluatedStage, tmp_path: Path) -> None:
    def marked(stage: EvaluatedStage) -> int:
        draw_strips(tmp_path / "a.png", stage)
        with Image.open(tmp_path / "a.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))[160:]  # below the legend
        return int((pixels == [int(PART[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).sum())

    captions = stage.evaluation.encoded.captions
    unknown = dataclasses.replace(captions, intervals=np.full_like(captions.intervals, np.nan))
    encoded = dataclasses.replace(stage.evaluation.encoded, captions=unknown)
    evaluation = dataclasses.replace(stage.evaluation, encoded=encoded)
    assert marked(stage) > 1000 and marked(dataclasses.replace(stage, evaluation=evaluation)) == 0
