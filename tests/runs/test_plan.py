"""What a run can have wrong is found before anything is rendered, trained or written: through the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from eaglenet_jax import train
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.load import save_clip
from eaglenet_jax.runs import start_block as blocks
from eaglenet_jax.runs import train as training
from eaglenet_jax.runs.data_name import named_after_data
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.initial_parameters import needs_download
from eaglenet_jax.runs.plan import plan_run, planned_data
from eaglenet_jax.runs.saved_config import save_config
from eaglenet_jax.runs.start_block import start_block
from eaglenet_jax.system import build_clip_config
from eaglenet_jax.training.checkpoints import Checkpoints
from tests.clip.sizes import random_params
from tests.data.prepared import write_prepared

# Overrides of demo:tiny → what the message says.
WRONG = {
    "optimizer.name=adam": r"config\.optimizer\.name='adam' is none of bert_adam, adamw",
    "optimizer.schedule=linear": r"config\.optimizer\.schedule='linear' is none of cosine",
    "optimizer.warmup=1.5": r"config\.optimizer\.warmup=1\.5 is not a fraction",
    "optimizer.clip_storage=float8": r"config\.optimizer\.clip_storage='float8' is none of",
    "optimizer.freeze=visual": r"config\.optimizer\.groups: 'visual' decides no parameter",
    "optimizer.head_lr=-1.0": r"config\.optimizer\.head_lr is -1\.0; give 0 or more",
    "optimizer.clip_lr=nan": r"config\.optimizer\.clip_lr is nan",
    "optimizer.weight_decay=-0.1": r"weight_decay is -0\.1",
    "first_stage.optimizer.name=adam": r"config\.first_stage\.optimizer\.name='adam'",
    "first_stage.batch_size=0": r"config\.first_stage\.batch_size is 0",
    "batch_size=1000": r"batch_size is 1000, the training split of .* has 240 captions of 48 clips; choose 1 to 240",
    "max_frames=0": r"config\.max_frames is 0; give 1 or more",
    "max_words=2": r"config\.max_words is 2; give 3 or more",
    "max_words=78": r"config\.max_words is 78; give 3 .* to 77",
    "head.candidates=0": "candidates is 0; give 1 or more",
    "head.pooling_dropout=1.0": r"config\.head\.pooling_dropout is 1\.0; a dropout rate",
    "head.graph.dropout_rate=-0.1": r"config\.head\.graph\.dropout_rate is -0\.1; a dropout rate",
    "head.sampler.buffer_rows=0": r"buffer_rows is 0",
    "head.sampler.buffer_probability=2.0": r"buffer_probability is 2\.0; give 0 to 1",
    "head.graph.heads=3": "the config describes no system",
    "epochs=0.0 steps=0": r"config\.steps and config\.epochs are both 0",
    "epochs=0.01 steps=0": r"config\.epochs=0\.01 of 30 batches is not one step",
    "init_from=/does/not/exist": r"config\.init_from=/does/not/exist is ignored where config\.first_stage trains first",
    "first_stage.init_from=moving_shape_clip": r"no such folder; .*; did you mean 'moving_shapes_clip'\?",
    "first_stage.init_from=/does/not/exist": r"config\.first_stage\.init_from: /does/not/exist: no such folder; give",
    "selection=best": "choose validation or test",
    "data.size=64": "the prepared frames are 64 pixels wide, this CLIP reads 48",
    "data.splits.train=0": r"config\.data\.splits\.train is 0",
    "clip.name=ViT-B/32": r"config\.clip\.name=ViT-B/32 is ignored where config\.clip gives every size",
    "distributed.processes=2": r"config\.distributed\.processes is read with --config\.distributed\.cluster=explicit",
    "evaluation.memory_budget=0": "memory_budget is 0",
    "ema_decay=1.0": "ema_decay is 1",
    "cached_features=True encode_micro_batches=2": "encode_micro_batches is about the encoders' memory",
    "cached_features=True optimizer.freeze=clip/visual/.*": r"config\.optimizer\.groups: 'clip/visual/\.\*' decides no",
    "first_stage.cached_features=True": r"config\.first_stage\.cached_features freezes the CLIP, which would stay",
    "accumulate=3": "batch_size 8 is no multiple of config.accumulate 3",
}
OF_OTHER_SYSTEMS = {
    "tmass": {"head.samples=-1": "samples is -1; give 0 or more"},
    "crosstvr": {
        "head.blip2=nowhere": "config.head.blip2=nowhere: no such folder; give that of a BLIP-2",
        "head.first.head.temporal=transformer": "is not that of the run that it starts from: there temporal is",
        "head.first.head.mask_padding=False": "there mask_padding is True, not False",
        "head.top_k=0": "top_k is 0; give 1 or more",
        "head.queries=0": "queries is 0; give 1 or more",
        "head.negative_scale=-1.0": r"config\.head\.negative_scale is -1",
        "head.match_weight=-1.0": r"config\.head\.match_weight is -1",
        "head.transformer.dropout_rate=1.0": r"transformer\.dropout_rate is 1\.0; a dropout rate",
    },
    "clip4clip": {"init_from=/does/not/exist": "is ignored where config.first_stage trains first"},
}


def _flags(overrides: str, tmp_path) -> list[str]:
    data = f"--config.data.root={tmp_path / 'datasets'}"
    return [f"--workdir={tmp_path / 'run'}", data, *(f"--config.{each}" for each in overrides.split())]


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    monkeypatch.setattr(training, "train_stage", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(training, "open_experiment", lambda *_, **__: pytest.fail("rendered"))


@pytest.mark.parametrize("overrides", WRONG)
def test_what_is_wrong_is_said_in_one_line_and_leaves_nothing_behind(overrides, tmp_path):
    for more in ([], ["--dry-run"]):
        with pytest.raises(UserError, match=WRONG[overrides]) as caught:
            train.main(["--config=demo:tiny", *_flags(overrides, tmp_path), *more])
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("system", "overrides"), [(s, each) for s, cases in OF_OTHER_SYSTEMS.items() for each in cases]
)
def test_what_other_systems_have_wrong(system, overrides, tmp_path):
    with pytest.raises(UserError, match=OF_OTHER_SYSTEMS[system][overrides]):
        train.main([f"--config=demo:tiny,{system}", *_flags(overrides, tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("config", "dataset"), [("demo:tiny", "table"), ("own", "table"), ("msvd:b32", "msvd")])
def test_prepared_data_have_to_be_there(config, dataset, tmp_path):
    with pytest.raises(UserError, match=rf"config\.data\.prepared: no folder 'nowhere'.* --dataset={dataset} "):
        train.main([f"--config={config}", f"--workdir={tmp_path / 'run'}", "--config.data.prepared=nowhere"])


def test_a_file_is_no_root_of_data(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match=rf"^--config\.data\.root={root}: .*/file is a file; give a folder$"):
            train.main(["--config=demo:tiny", f"--workdir={tmp_path / 'run'}", f"--config.data.root={root}"])
    assert not (tmp_path / "run").exists()


def test_devices_have_to_divide_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match=r"config\.batch_size 8 does not divide over 3 devices; choose a multiple of 3"):
        train.main(["--config=demo:tiny", *_flags("", tmp_path)])
    assert not list(tmp_path.iterdir())


def _checkpoint(workdir: Path, config, **metadata) -> Path:
    """A work directory with one checkpoint, of step 3, and without arrays that fit."""
    save_config(config, workdir)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        state = {"params": {"head": np.zeros(1, np.float32)}, "opt_state": {}}
        checkpoints.save(3, state, {"best": {"step": 3, "recall": 1.0}, **metadata}, best=True)
    return workdir


def test_what_a_run_starts_from_has_to_fit(tmp_path, capsys, monkeypatch):
    source = _checkpoint(tmp_path / "source", load_config("demo:tiny,clip4clip", ["--config.clip.embed_dim=32"]))
    clip_config = build_clip_config(load_config("demo:tiny", ["--config.clip.vision_layers=3"]).clip)
    (tmp_path / "clip").mkdir()
    save_clip(tmp_path / "clip", clip_config, {"clip": random_params(Clip(clip_config))}, np.float32(1))
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (source, r"config\.first_stage\.init_from: .*another CLIP: embed_dim is 32 there and 16"),
        (tmp_path / "clip", r"config\.first_stage\.init_from: .*another CLIP: vision_layers is 3 there and 2"),
        (tmp_path / "empty", r"config\.first_stage\.init_from: .*empty holds no CLIP"),
    ):
        for more in ([], ["--dry-run"]):
            with pytest.raises(UserError, match=message):
                train.main(["--config=demo:tiny", *_flags(f"first_stage.init_from={folder}", tmp_path), *more])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "empty", "source"]
    # The hub is not asked.
    train.main(["--config=demo:tiny", *_flags("first_stage.init_from=nobody/nothing", tmp_path), "--dry-run"])
    assert (
        "weights of nobody/nothing, which are not on this machine: they are downloaded first" in capsys.readouterr().out
    )
    repository = tmp_path / "models--nobody--nothing"  # as the hub's cache has it
    (repository / "snapshots/abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc")
    (repository / "snapshots/abc/model.safetensors").write_bytes(b"")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not needs_download("nobody/nothing")
    (repository / "snapshots/abc/model.safetensors").rename(repository / "snapshots/abc/model.safetensors.index.json")
    assert needs_download("nobody/nothing")  # the shards that the index names are missing
    assert needs_download("nobody/no--thing") and not needs_download("") and not needs_download(str(tmp_path))


def test_a_head_has_to_fit_the_one_that_it_starts_from(tmp_path):
    first = load_config("demo:tiny,crosstvr").first_stage
    source = _checkpoint(tmp_path / "source", first)
    config = load_config("demo:tiny,crosstvr", [f"--config.data.root={tmp_path}"]).copy_and_resolve_references()
    with config.unlocked():
        config.first_stage = {}
    config.init_from = str(source)
    assert "from the run above" in start_block(plan_run(config, tmp_path / "run"))
    config.head.first.head.temporal = "transformer"
    with pytest.raises(UserError, match=r"config\.init_from: .*first stage is not that of the run .*temporal is"):
        plan_run(config, tmp_path / "run")


def test_further_inputs_of_prepared_data_have_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "open_experiment", open_experiment)
    prepared = write_prepared(tmp_path / "prepared")
    own = f"data.prepared={prepared} selection=test clip.image_size=16 clip.patch_size=4".split()
    flags = [f"--workdir={tmp_path / 'run'}", *(f"--config.{each}" for each in own)]
    tokens = [f"--config.head.tokens.{each}" for each in ("source=nobody/encoder", "count=17", "width=16")]
    for system, more, message in (
        ("shenet", [], "there is no .*syntax.*, which this system needs; parse the captions with"),
        ("crosstvr", tokens, "holds no tokens of nobody/encoder; compute them with"),
    ):
        for dry in ([], ["--dry-run"]):
            with pytest.raises(UserError, match=message):
                train.main([f"--config=demo:tiny,{system}", *flags, *more, *dry])
    root = f"--config.data.root={tmp_path / 'datasets'}"
    with pytest.raises(UserError, match="is not there yet, and so holds no tokens of nobody/encoder; compute them"):
        train.main(["--config=demo:tiny,crosstvr", flags[0], root, *tokens])
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_a_run_is_described_before_its_data_are_rendered_and_claimed_after(tmp_path, monkeypatch, capsys):
    printed = []

    def rendered(*_, **__):
        printed.append(capsys.readouterr().out)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock"]
        raise UserError("rendered")

    monkeypatch.setattr(training, "open_experiment", rendered)
    with pytest.raises(UserError, match="rendered"):
        train.main(["--config=demo:tiny", *_flags("", tmp_path)])
    assert "rendered and prepared first" in printed[0] and not (tmp_path / "run/config.json").exists()


def test_selection_needs_its_split(tmp_path):
    manifest = {
        "format": 1,
        "dataset": "holidays",
        "splits": {"train": {"videos": 9, "captions": 12}},
        "settings": {"size": 48},
        "failed": {},
    }
    folder = tmp_path / "holidays/prepared"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="has no split 'val' to choose the best checkpoint on"):
        train.main(["--config=demo:tiny", f"--workdir={tmp_path / 'run'}", f"--config.data.prepared={folder}"])
    # Whose data are not the demo's is not called the demo.
    config = named_after_data(load_config("demo:tiny", [f"--config.data.prepared={folder}"]))
    assert (config.name, config.first_stage.name, config.data.dataset) == ("holidays", "holidays_clip", "holidays")
    assert named_after_data(load_config("demo:tiny")).name == "demo"


def test_a_run_on_own_data_from_before_they_gave_the_name_is_resumed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "open_experiment", open_experiment)
    prepared = write_prepared(tmp_path / "birds/prepared")
    own = f"data.prepared={prepared} selection=test clip.image_size=16 clip.patch_size=4".split()
    flags = ["--config=demo:tiny", *(f"--config.{each}" for each in own)]
    train.main([*flags, "--print-config"])
    assert {"name = 'birds'", "data.dataset = 'birds'", "first_stage.name = 'birds_clip'"} <= set(
        capsys.readouterr().out.splitlines()
    )
    old = load_config("demo:tiny", flags[1:])
    assert (old.name, old.data.dataset) == ("demo", "moving_shapes")
    save_config(old, tmp_path / "run")
    save_config(old.first_stage, tmp_path / "run/first_stage")
    monkeypatch.chdir(tmp_path)
    flags[1] = "--config.data.prepared=birds/prepared"
    train.main([*flags, f"--workdir={tmp_path / 'run'}", "--dry-run"])
    assert "birds: eaglenet" in capsys.readouterr().out
    write_prepared(tmp_path / "cats/prepared")
    flags[1] = "--config.data.prepared=cats/prepared"
    with pytest.raises(UserError, match=r"another config .*data\.dataset: 'moving_shapes' there, 'cats' now"):
        train.main([*flags, f"--workdir={tmp_path / 'run'}", "--dry-run"])


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        (["--config=demo:tiny"], "demo_tiny"),
        (["--config=demo:tiny", "--config.system=xpool"], "demo_tiny_xpool"),
        (["--config=demo:tiny, xpool", "--config.preset=released"], "demo_tiny_xpool_released"),
        (["--config=demo:tiny,eaglenet_jax.heads.xpool:XPool"], "demo_tiny_eaglenet_jax.heads.xpool_XPool"),
        (["--config=ablations/components:frl_eam,moving_shapes,frozen"], "moving_shapes_components_frl_eam_frozen"),
        (["--config=ablations/components:frl,demo,tiny"], "demo_components_frl_tiny"),
    ],
)
def test_every_variant_has_a_folder_of_its_own(flags, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.main([*flags, "--dry-run"])
    assert f"work dir   runs/{folder} (new)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_time_is_estimated_from_the_rate_of_checkpoints(tmp_path, monkeypatch):
    config = load_config("demo:tiny,clip4clip", [f"--config.data.root={tmp_path}", "--config.steps=13"])

    def time() -> str:
        return start_block(plan_run(config, tmp_path / "run")).splitlines()[-1].removeprefix("time").strip()

    monkeypatch.setattr(blocks, "training_seconds", lambda stage, steps: 10.0 * steps)
    rough = (
        " of steps by a rough estimate, without compiling and evaluations, after rendering and preparing the data; "
        "the first steps give a better one"
    )
    assert time() == f"about 3 min{rough}"  # 6 and 13 steps
    _checkpoint(tmp_path / "run/first_stage", config.first_stage, seconds=120.0)  # 3 of 6 steps
    assert time() == f"about 4 min{rough}"  # 120 s by the rate and 130 s
    _checkpoint(tmp_path / "run", config, seconds=60.0)  # 3 of 13 steps
    assert time() == "about 5 min or less, by the rate until now, which includes compiling"


def test_the_first_process_alone_describes_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    train.main(["--config=demo:tiny", *_flags("", tmp_path), "--dry-run"])
    assert not capsys.readouterr().out


def test_a_plan_knows_the_length_of_every_stage(tmp_path):
    config = load_config("demo:tiny", ["--config.steps=0", "--config.epochs=1.5", "--config.evaluation.every=0"])
    config.data.root = config.first_stage.data.root = str(tmp_path)
    plan = plan_run(config, tmp_path / "run")
    assert [stage.steps for stage in plan.stages] == [6, 45]  # 240 captions in batches of 8
    assert [stage.evaluate_every for stage in plan.stages] == [3, 30]
    assert [stage.source for stage in plan.stages] == ["", str(tmp_path / "run/first_stage")]
    assert plan.data.missing and dict(plan.data.splits) == {"train": (48, 240), "val": (12, 60), "test": (16, 80)}


def test_a_dry_run_describes_and_does_nothing(tmp_path, capsys):
    train.main(["--config=demo:tiny", *_flags("seed=5", tmp_path), "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    said = dict(line.split(maxsplit=1) for line in lines)
    assert len(lines) <= 15 and not list(tmp_path.iterdir())
    for name, words in {
        "run": "demo: eaglenet, preset ours",
        "data": "rendered and prepared first",
        "clips": "train 48 (240 captions), val 12 (60 captions), test 16 (80 captions)",
        "input": "6 frames and 20 words a clip",
        "CLIP": "random weights",
        "seed": "5",
        "note": "6 steps are few for a head; --config.steps sets more",
        "time": " s of steps by a rough estimate",
        "devices": "cpu",
    }.items():
        assert words in said[name]
    assert "clip4clip, 6 steps of 8 clips" in lines[5] and lines[6].endswith("from stage 1")
    assert f"{tmp_path / 'run'} (new)" in "\n".join(lines)
    assert all(line[9:11] == "  " and line[11] != " " for line in lines)


def test_a_resolved_config_is_printed_and_nothing_else(tmp_path, capsys):
    train.main(["--config=demo:tiny,xpool", "--print-config", *_flags("batch_size=4 optimizer.head_lr=0.5", tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert {"batch_size = 4", "optimizer.head_lr = 0.5", "head.pooling_heads = 1", "system = 'xpool'"} <= set(lines)
    assert f"first_stage.data.root = {str(tmp_path / 'datasets')!r}" in lines


def test_the_counts_before_rendering_are_those_of_the_renderer():
    from data_prep.moving_shapes.events import Events
    from data_prep.moving_shapes.render import describe

    data = load_config("demo:tiny").data
    content, _ = describe(dict(data.splits.items()), data.seed, Events(**data.events))
    split_of = {video["video_id"]: video["split"] for video in content["videos"]}
    train_captions = sum(split_of[sentence["video_id"]] == "train" for sentence in content["sentences"])
    data.root = "nowhere"
    assert planned_data(data).splits["train"] == (48, train_captions)


def test_a_clip_that_cannot_be_fetched_leaves_no_claimed_folder(tmp_path, monkeypatch, capsys):
    """Started with other flags, as a try with a folder in place of the name, the run finds its work directory free."""

    def unreachable(source):
        raise UserError(f"{source}: the hub cannot be reached")

    monkeypatch.setattr("eaglenet_jax.runs.initial_parameters.clip_files", unreachable)
    monkeypatch.setattr(training, "open_experiment", open_experiment)
    prepared = write_prepared(tmp_path / "prepared")
    fields = [f"data.prepared={prepared}", "clip.image_size=16", "clip.patch_size=4"]
    fields.append("first_stage.init_from=org/clip")
    flags = ["--config=demo:tiny,clip4clip", *(f"--config.{field}" for field in fields), "--config.selection=test"]
    with pytest.raises(UserError, match="the hub cannot be reached"):
        train.main([*flags, f"--workdir={tmp_path / 'run'}"])
    assert "work dir" in capsys.readouterr().out and not (tmp_path / "run/config.json").exists()


def test_two_stages_of_one_head_are_changed_together(tmp_path) -> None:
    changed = ["--config.head.queries=8"]
    message = (
        r"moving_shapes_clip_easy, .* query_tokens .*; both train crosstvr: change config\.first_stage\.head as well"
    )
    with pytest.raises(UserError, match=message):
        plan_run(load_config("moving_shapes:crosstvr,frozen", changed), tmp_path / "run")
    changed.append("--config.first_stage.head.queries=8")
    plan = plan_run(load_config("moving_shapes:crosstvr,frozen", changed), tmp_path / "run")
    names = [stage.config.name for stage in plan.stages]
    assert names == ["moving_shapes_clip", "moving_shapes_clip_easy", "moving_shapes"]
    said = "\nhead       stage 3 as in stage 2, but for negative_scale: 0.0 there, 20.0 now\n"
    assert said in start_block(plan)


def test_a_relative_work_directory_is_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("demo:tiny", [f"--config.data.root={tmp_path}"])
    source = plan_run(config, Path("runs")).stages[-1].source
    assert source == str(tmp_path / "runs/first_stage") and not needs_download(source)
