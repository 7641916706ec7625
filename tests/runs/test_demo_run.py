"""The main job end to end at the size of a test: render, prepare, two stages of training, evaluation, going on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shlex
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import moving_shapes_errors, moving_shapes_oracle
from data_prep import demo as demo_data
from eaglenet_jax import evaluate, train
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.model import load
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.model_formats import read_workdir
from eaglenet_jax.runs.vision_tokens import load_encoder
from eaglenet_jax.search.__main__ import main as search
from eaglenet_jax.system import build_system
from eaglenet_jax.training.checkpoints import Checkpoints
from tests.runs.old_form import bring_into_old_form

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory, demo_datasets) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo_datasets.mkdir(exist_ok=True)
    (folder / "datasets").symlink_to(demo_datasets)
    return folder


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    data = [f"--config.{stage}data.root={root / 'datasets'}" for stage in ("", "first_stage.")]
    return ["--config=configs/demo.py:tiny", f"--workdir={root / name}", *data, *more]


@pytest.fixture(scope="module")
def finished(root) -> tuple[Path, str]:
    """A finished run and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        train.main(_arguments(root, "first"))
    return root / "first", printed.getvalue()


def _table(printed: str) -> list[str]:
    rows: list[str] = []
    for line in printed[printed.index("\nchance") + 1 :].splitlines()[:5]:
        indented = line.startswith(" ")  # a long name goes on in the line of its numbers
        rows[-1:] = [f"{rows[-1]} {line.strip()}"] if indented else [*rows[-1:], line]
    return rows[:4]


def _metrics(workdir: Path) -> dict:
    content = json.loads((workdir / "metrics.json").read_text())
    content["run"].pop("seconds")
    return content


def test_a_run_prints_its_table_and_writes_its_files(finished):
    workdir, printed = finished
    table = _table(printed)
    assert [line.split()[0] for line in table] == ["chance", "untrained", "demo_clip", "demo"]
    assert "val R@1" in printed and "clips/s" in printed and str(workdir / "metrics.json") in printed
    metrics = _metrics(workdir)
    for split in ("val", "test"):
        for side in ("t2v", "v2t"):
            assert set(metrics[split][side]) >= {"R@1", "R@5", "R@10", "MdR", "MnR"}
        recalls = [metrics[split][side][f"R@{k}"] for side in ("t2v", "v2t") for k in (1, 5, 10)]
        assert metrics[split]["Rsum"] == pytest.approx(sum(recalls))
    assert metrics["run"]["selection"] == "validation"
    for name in (
        "config.json",
        "retrieval.png",
        "report.html",
        "checkpoints",
        "events/log.jsonl",
        "first_stage/metrics.json",
        "first_stage/ranks.npz",
        "ranks.npz",
    ):
        assert (workdir / name).exists()
    assert list((workdir / "events").glob("events.out.tfevents*"))
    page = (workdir / "report.html").read_text()
    for other in ("untrained CLIP", "demo_clip (clip4clip)"):  # a verdict, and a curve
        assert f" than {other}: the right video" in page or f"Whether demo (eaglenet) or {other} is better" in page
        assert f"<title>{other}</title></polyline>" in page
    log = [json.loads(line) for line in (workdir / "events/log.jsonl").read_text().splitlines()]
    assert sum("val/t2v/R@1" in line for line in log) == 2
    assert sum("train/eam_loss" in line for line in log) == 6


def test_benchmarks_of_moving_shapes_read_a_run(finished, capsys):
    workdir, _ = finished
    moving_shapes_oracle.main([f"--workdir={workdir}", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["t2v"]["queries"] == 16 and 1 <= found["t2v"]["MnR"] <= 16
    moving_shapes_errors.main([f"--workdir={workdir}", "--json"])
    errors = json.loads(capsys.readouterr().out)
    assert errors["errors"] == round(16 * (1 - _metrics(workdir)["test"]["t2v"]["R@1"] / 100))


def _recalls(workdir: Path, split: str) -> dict[int, float]:
    """t2v R@1 by step, as logged."""
    lines = [json.loads(line) for line in (workdir / "events/log.jsonl").read_text().splitlines()]
    return {line["step"]: line[f"{split}/t2v/R@1"] for line in lines if f"{split}/t2v/R@1" in line}


@pytest.mark.long
def test_the_best_checkpoint_is_chosen_on_the_split_that_the_config_names(finished, root, capsys):
    """By default on validation; with selection=test, as the released program, on test, and the table says so."""
    train.main(["--config=demo:tiny,clip4clip", *_arguments(root, "on_test", "--config.selection=test")[1:]])
    assert "best checkpoint chosen on the test split itself" in capsys.readouterr().out
    for workdir, split, other in ((finished[0], "val", "test"), (root / "on_test", "test", "val")):
        recalls = _recalls(workdir, split)
        assert _metrics(workdir)["run"]["best_step"] == max(recalls, key=lambda step: (recalls[step], -step))
        assert _metrics(workdir)[split]["t2v"]["R@1"] == max(recalls.values())
        assert not _recalls(workdir, other)


def test_evaluate_prints_the_same_table_from_the_checkpoint_alone(finished, tmp_path, capsys):
    workdir, printed = finished
    evaluate.main([f"--workdir={workdir}", "--split=test", f"--save={tmp_path / 'saved'}"])
    assert _table(capsys.readouterr().out) == _table(printed)
    assert np.load(tmp_path / "saved/scores.npy").shape == (16, 16)


def test_a_loaded_model_gives_the_scores_that_evaluate_saves(finished, root, tmp_path, capsys):
    """From the clips themselves, in the noise of the captions' ids."""
    workdir, _ = finished
    evaluate.main([f"--workdir={workdir}", "--split=test", f"--save={tmp_path}"])
    ids = json.loads((tmp_path / "ids.json").read_text())
    (annotations,) = (root / "datasets").rglob("annotations.json")
    texts = {f"sen{one['sen_id']}": one["caption"] for one in json.loads(annotations.read_text())["sentences"]}
    model = load(workdir)
    features = model.encode_text([texts[name] for name in ids["texts"]], ids=ids["texts"])
    videos = model.encode_video(
        [annotations.parent / f"videos/{name}.mp4" for name in ids["videos"]], ids=ids["videos"]
    )
    saved = np.load(tmp_path / "scores.npy")
    np.testing.assert_allclose(model.score(features, videos), saved, atol=1e-5)
    other = model.score(dataclasses.replace(features, id=features.id + 1), videos)
    assert np.abs(other - saved).max() > 1e-4


def test_everything_there_is_to_say_of_a_run_at_once(finished, tmp_path, capsys):
    """Beside the table: intervals, noise, post-processing, another run, and a page; the metrics stay what they were."""
    workdir, _ = finished
    arguments = [f"--workdir={workdir}", "--split=test", "--noise-seeds=2", f"--baseline={workdir / 'first_stage'}"]
    arguments += ["--postprocess=dual_softmax", "--postprocess=qb_norm", f"--report={tmp_path / 'report.html'}"]
    assert evaluate.main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["split"] == "test" and [stage["name"] for stage in said["stages"]] == ["demo_clip", "demo"]
    run, metrics = said["stages"][-1], _metrics(workdir)
    assert run["metrics"]["test"] == metrics["test"]
    assert said["scores"]["metrics"] == _of_16_videos(metrics["test"])
    assert run["zero_shot"] == {key: metrics["run"]["zero_shot"][key] for key in ("name", "test")}
    assert run["noise"]["test"]["seeds"] == 2 and not run["noise"]["test"]["same"]
    assert len(run["split_hash"]["test"]) >= 10 and run["versions"]["jax"] == jax.__version__
    assert said["scores"]["temperatures"]["dual_softmax"]["from"] == "chosen on the validation scores"
    baseline = _of_16_videos(said["stages"][0]["metrics"]["test"])
    baseline["t2v"] = {name: value for name, value in baseline["t2v"].items() if not name.startswith("pointing")}
    assert said["scores"]["baseline"]["metrics"] == baseline  # read from scores, which carry no weights
    assert set(said["scores"]["postprocessed"]["qb_norm"]) == {"t2v"}
    page = (tmp_path / "report.html").read_text()
    for words in ("untrained CLIP", "mean of 2 noise seeds", "Against demo_clip", "energy", run["split_hash"]["test"]):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "")


def _of_16_videos(metrics):
    """Metrics as a report of scores has them: a gallery of 16 has no fiftieth video."""
    return metrics | {side: metrics[side] | {"R@50": None} for side in ("t2v", "v2t")}


def test_without_a_split_it_is_validation(finished, capsys):
    assert evaluate.main([f"--workdir={finished[0] / 'first_stage'}", "--noise-seeds=2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("\nval split: 12 texts") and "95 % intervals" in printed
    assert printed.count("draws no noise: 2 seeds give the same scores") == 1


def test_a_checkpoint_is_evaluated_without_its_work_directory(finished, root, tmp_path, capsys):
    shutil.copytree(finished[0] / "checkpoints", tmp_path / "elsewhere")
    config = ["--config=demo:tiny", f"--config.data.root={root / 'datasets'}", "--split=test", "--json"]
    step = _metrics(finished[0])["run"]["best_step"]
    for checkpoint in ("elsewhere", f"elsewhere/{step}"):
        assert evaluate.main([*config, f"--checkpoint={tmp_path / checkpoint}"]) == 0
        assert json.loads(capsys.readouterr().out)["scores"]["metrics"] == _of_16_videos(_metrics(finished[0])["test"])
    with pytest.raises(UserError, match="files of other programs need --from"):
        evaluate.main([*config, f"--checkpoint={tmp_path / 'none'}"])
    with pytest.raises(UserError, match="is of another config"):
        evaluate.main(["--config=demo:tiny,xpool", *config[1:], f"--checkpoint={tmp_path / 'elsewhere'}"])


def test_a_run_is_checked_for_leaks(finished, capsys):
    assert evaluate.main([f"--workdir={finished[0]}", "--check-leak"]) == 0
    assert "no leak" in capsys.readouterr().out


def test_a_finished_run_only_tells_its_results_again(finished, root, capsys):
    workdir, printed = finished
    before = (workdir / "metrics.json").stat().st_mtime_ns
    train.main(_arguments(root, "first"))
    assert _table(capsys.readouterr().out) == _table(printed)
    assert (workdir / "metrics.json").stat().st_mtime_ns == before


def test_bad_arguments_get_one_line(root, finished, tmp_path):
    workdir, _ = finished
    cases = {
        "did you mean 'demo'": ["--config=configs/demmo.py"],
        "unknown argument 'tinny'; did you mean 'tiny'": ["--config=demo:tinny"],
        'Did you mean "batch_size"': ["--config=demo", "--config.batchsize=3"],
        "batch_size=many: give a whole number": ["--config=demo", "--config.batch_size=many"],
        "behind the config's colon": ["--config=demo", "--config.name=other"],
        "unknown argument '--wrkdir=x', did you mean --workdir": ["--config=demo", "--wrkdir=x"],
        "unknown argument 'batch_size=3'": ["--config=demo", "batch_size=3"],
        "give the name or the file of a config": ["--config="],
        "energy 'mpl' is none of": ["--config=demo", "--config.head.energy=mpl"],
        "evaluation.noise is 'typo'": ["--config=demo", "--config.evaluation.noise=typo"],
        "steps is -1": ["--config=demo", "--config.steps=-1"],
        "the two stages differ in data.seed": ["--config=demo:tiny", "--config.first_stage.data.seed=4"],
        "demo trains one stage; leave this out": ["--config=demo", "--config.first_stage.steps=4"],
        "batch_size is 4800": _arguments(
            root, "y", "--config.first_stage.batch_size=4800", "--config.first_stage.data.workers=0"
        ),
        "another config .*batch_size: 8 there, 4 now": _arguments(root, "first", "--config.batch_size=4"),
        "choose validation or test": ["--config=demo", "--config.selection=best"],
    }
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            train.main(arguments)
        assert "\n" not in str(caught.value)
    for message, arguments in {
        "no work directory": [f"--workdir={tmp_path / 'nothing'}"],
        "split": [f"--workdir={workdir}", "--split=tests"],
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            evaluate.main(arguments)
        assert "\n" not in str(caught.value)


def test_a_config_that_does_not_fit_the_checkpoint_is_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    content = json.loads((tmp_path / "run/config.json").read_text())
    content["head"]["graph"]["layers"] = 3
    (tmp_path / "run/config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"another config, 20 .*layer_1/.* instead of .* and 15 more"):
        evaluate.main([f"--workdir={tmp_path / 'run'}"])
    (tmp_path / "run/config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        evaluate.main([f"--workdir={tmp_path / 'run'}"])


def test_search_samples_videos_as_a_run_was_trained(finished):
    with Checkpoints(finished[0] / "checkpoints") as checkpoints:
        assert checkpoints.metadata(checkpoints.best())["fps"] == 3.0
    config = json.loads((finished[0] / "config.json").read_text())
    settings, _ = read_workdir(finished[0])
    assert settings["fps"] == 3.0 and settings["head"] == config["head"]


def test_a_head_of_the_same_kind_gives_the_parts_that_both_have(finished):
    """Without energy-aware matching a head has one part less; the others still come from the run."""
    arguments = ["--config.head.eam_weight=0.0", "--config.head.eam_support_weight=0.0"]
    fewer = build_system(load_config("demo:tiny", arguments))
    with Checkpoints(finished[0] / "checkpoints") as checkpoints:
        saved = checkpoints.restore_params("best")["head"]
    found = initial_parameters(fewer, str(finished[0]), seed=7)["head"]
    assert set(saved) - set(found) == {"energy_function"}
    for name in found:
        jax.tree.map(np.testing.assert_array_equal, found[name], saved[name])
    other = initial_parameters(build_system(load_config("demo:tiny,xpool")), str(finished[0]), seed=7)["head"]
    assert np.abs(other["pooling"]["query"]["kernel"] - saved["pooling"]["query"]["kernel"]).max() > 0


def test_what_starts_from_a_run_with_a_moving_average_takes_that(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    content = json.loads((run / "config.json").read_text()) | {"ema_decay": 0.5}
    (run / "config.json").write_text(json.dumps(content))
    # The run has none, so who asks for it is told.
    with pytest.raises(UserError, match="the run kept no moving average"):
        initial_parameters(build_system(load_config("demo:tiny")), str(run), seed=0)
    with pytest.raises(UserError, match="the run kept no moving average"):
        load_encoder(str(run))


@pytest.mark.long
def test_a_work_directory_of_the_old_form_evaluates_and_continues(finished, root, tmp_path, capsys):
    run = shutil.copytree(finished[0], tmp_path / "run")
    bring_into_old_form(run)
    arguments = _arguments(root, "first")
    arguments[1] = f"--workdir={run}"
    evaluate.main([f"--workdir={run}", "--split=test"])
    assert _table(capsys.readouterr().out) == _table(finished[1])
    train.main(arguments)  # it is finished
    printed = capsys.readouterr()
    assert _table(printed.out) == _table(finished[1]) and "step" not in printed.err
    (run / "metrics.json").unlink()
    with Checkpoints(run / "checkpoints") as checkpoints:
        shutil.rmtree(run / "checkpoints" / str(checkpoints.latest()))
    train.main(arguments)
    assert "going on from step" in "".join(capsys.readouterr())
    assert _metrics(run) == _metrics(finished[0]) and not (run / "first_stage").exists()


@pytest.fixture
def moved(finished, root, tmp_path) -> tuple[Path, Path]:
    """A finished run, and the place of its data, where there are none."""
    run, elsewhere = shutil.copytree(finished[0], tmp_path / "run"), tmp_path / "no data"
    for file in (run / "config.json", run / "first_stage/config.json"):
        file.write_text(file.read_text().replace(str(root / "datasets"), str(elsewhere)))
    return run, elsewhere


def test_opening_an_evaluation_makes_no_data(finished, moved, tmp_path):
    """Data that are not there are an error with the command that makes them; only training makes them itself."""
    run, elsewhere = moved
    commands = [
        lambda: evaluate.main([f"--workdir={run}"]),
        lambda: evaluate.main([f"--workdir={run}", "--check-leak"]),
        lambda: evaluate.main(
            ["--config=demo:tiny", f"--checkpoint={run / 'checkpoints'}", f"--config.data.root={elsewhere}"]
        ),
        lambda: evaluate.main([f"--workdir={finished[0]}", "--split=test", f"--baseline={run}"]),
        lambda: search(["export", f"--workdir={run}", f"--out={tmp_path / 'export'}", "--own-words"]),
    ]
    for command in commands:
        with pytest.raises(
            UserError, match=r"the demo's data are not in .*; make them with python -m data_prep\.demo"
        ) as e:
            command()
        assert "\n" not in str(e.value) and not elsewhere.exists()


@pytest.mark.long
def test_data_made_by_the_command_that_an_error_names_give_the_same_table(finished, moved, capsys):
    run, _ = moved
    with pytest.raises(UserError, match="the demo's data are not in") as e:
        evaluate.main([f"--workdir={run}"])
    said = str(e.value).partition("python -m data_prep.demo ")[2]
    assert demo_data.main(shlex.split(said)) == 0
    assert evaluate.main([f"--workdir={run}", "--split=test"]) == 0
    (chance, untrained, *trained), then = _table(capsys.readouterr().out), _table(finished[1])
    assert [chance, *trained] == [then[0], *then[2:]]
    # Similarities of random weights lie so close that rounding may swap two videos: one query and rank of 16.
    rows = [np.array([*row.split()[2:7], *row.split()[8:13]], float) for row in (untrained, then[1])]
    assert (np.ptp(rows, axis=0) <= [6.3, 6.3, 6.3, 0.5, 0.07] * 2).all()


def test_damaged_results_are_made_again(finished, root, capsys):
    workdir = finished[0]
    whole = _metrics(workdir)
    (workdir / "metrics.json").write_text("{")
    train.main(_arguments(root, "first"))
    assert "is damaged; training makes it again" in capsys.readouterr().err
    assert _metrics(workdir) == whole


def test_a_checkpoint_of_another_config_is_refused(finished, root):
    source = finished[0]
    arguments = _arguments(root, "other", f"--config.first_stage.init_from={source}", "--config.clip.embed_dim=32")
    with pytest.raises(UserError, match=r"embed_dim is 16 there and 32 in config\.first_stage\.clip"):
        train.main(arguments)


@pytest.mark.long
@pytest.mark.parametrize(
    ("system", "stages"),
    [
        ("shenet", ["demo_clip", "demo"]),
        ("crosstvr_eaglenet", ["demo_clip", "demo_eaglenet", "demo"]),
        ("crosstvr_ts2net", ["demo_clip", "demo_ts2net", "demo"]),
    ],
)
def test_the_other_systems_train_to_the_end(root, system, stages, capsys):
    data = [f"--config.{'first_stage.' * stage}data.root={root / 'datasets'}" for stage in range(len(stages))]
    workdir = root / system
    train.main([f"--config=demo:tiny,{system}", f"--workdir={workdir}", *data])
    _, chance, table = capsys.readouterr().out.partition("\nchance")
    assert chance and [line.split()[0] for line in table.splitlines() if line.split(" ")[0] in stages] == stages
    metrics = _metrics(workdir)
    assert metrics["run"]["system"] == system.partition("_")[0]
    for split in ("val", "test"):
        recalls = [metrics[split][side][f"R@{k}"] for side in ("t2v", "v2t") for k in (1, 5, 10)]
        assert metrics[split]["Rsum"] == pytest.approx(sum(recalls)) and max(recalls) > 0
    page = (workdir / "report.html").read_text()
    assert page.rstrip().endswith("</html>") and all(stage in page for stage in stages)
