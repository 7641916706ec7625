"""Runs and exported models to the Hugging Face hub and back: its own client against a server on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import demo
from eaglenet_jax.errors import UserError
from eaglenet_jax.hub import main
from eaglenet_jax.runs.export import CARD_FILE, PARAMETER_FILE, SETTINGS_FILE, model_card, read_export, write_export
from eaglenet_jax.runs.model_formats import model_settings
from eaglenet_jax.runs.saved_config import save_config
from eaglenet_jax.runs.workdir import CHECKPOINTS, load_checkpoint
from eaglenet_jax.system import build_system
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.loop import Best
from eaglenet_jax.training.state import TrainState
from tests.runs.loopback_hub import TOKEN, LoopbackHub, serving

# How the hub's client calls its own HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # Its newer protocol for large files has a server of its own.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield server


def params_of(settings: dict) -> dict:
    shapes = build_system(settings).shapes()
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = model_settings(demo.get_config("clip4clip,tiny"))
    folder = tmp_path_factory.mktemp("export") / "small"
    write_export(folder, settings, params_of(settings), model_card(settings, {}, "x", "y"), "float32", {0, 320})
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two checkpoints, of which the first is the best."""
    folder = tmp_path_factory.mktemp("runs") / "demo_run"
    config = demo.get_config("clip4clip,tiny")
    config.ema_decay = 0.0
    save_config(config, folder)
    with Checkpoints(folder / CHECKPOINTS) as checkpoints:
        for step, best in ((2, True), (4, False)):
            params = jax.tree.map(lambda leaf, step=step: leaf + step, params_of(model_settings(config)))
            state = TrainState(np.int32(step), params, (), ())
            checkpoints.save(step, state, {"best": Best(2, 0.5).as_dict(), "fps": 3.0}, best=best)
    (folder / "metrics.json").write_text("{}")
    (folder / "events").mkdir()
    (folder / "events/log").write_text("private")
    return folder


def test_an_exported_model_goes_there_and_back(
    hub: LoopbackHub, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["push", str(exported), "someone/small"])
    assert "3 files, " in capsys.readouterr().out
    files = hub.files["someone/small"]
    assert files.keys() == {PARAMETER_FILE, SETTINGS_FILE, CARD_FILE} and not hub.private["someone/small"]
    assert files[PARAMETER_FILE] in hub.large.values()
    card = files[CARD_FILE].decode()
    assert card.startswith("---\nlibrary_name: eaglenet_jax\n") and "System `clip4clip`" in card
    main(["pull", "someone/small", str(tmp_path / "new/here")])
    assert "exported clip4clip" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "new/here").iterdir()) == sorted(files)
    for one, other in zip(
        *(jax.tree.leaves(read_export(folder)[1]) for folder in (exported, tmp_path / "new/here")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_goes_there_with_its_best_checkpoint_and_card(
    hub: LoopbackHub, workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["push", str(workdir), "someone/run", "--private"])
    files = hub.files["someone/run"]
    assert hub.private["someone/run"] and {"config.json", "metrics.json", CARD_FILE} <= files.keys()
    assert {name.split("/")[1] for name in files if name.startswith(CHECKPOINTS)} == {"2"}
    assert not any("events" in name or name.endswith(".lock") for name in files)
    assert "started from" in files[CARD_FILE].decode()
    capsys.readouterr()
    main(["pull", "someone/run", str(tmp_path / "run")])
    assert "run of clip4clip, step 2" in capsys.readouterr().out
    assert not list(tmp_path.glob(".run*"))
    one, other = load_checkpoint(workdir), load_checkpoint(tmp_path / "run")
    assert (one.step, one.fps, one.config.name) == (other.step, other.fps, other.config.name)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def test_a_revision_is_the_model_as_it_was(hub: LoopbackHub, exported: Path, tmp_path: Path) -> None:
    main(["push", str(exported), "someone/small"])
    (first,) = hub.commits["someone/small"]
    other = tmp_path / "other"
    settings, params = read_export(exported)
    write_export(other, settings, params, "# Another\n", "float16", None)
    main(["push", str(other), "someone/small"])
    main(["pull", "someone/small", str(tmp_path / "old"), f"--revision={first}"])
    main(["pull", "someone/small", str(tmp_path / "new")])
    assert "System `clip4clip`" in (tmp_path / "old" / CARD_FILE).read_text()
    assert "# Another" in (tmp_path / "new" / CARD_FILE).read_text()


def test_a_second_push_leaves_nothing_of_the_first(
    hub: LoopbackHub, exported: Path, workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["push", str(exported), "someone/x"])
    newer = b"x"  # of a run that was pushed before and was longer
    replaced(
        hub, "someone/x", **{"checkpoints/9/state/_METADATA": newer, "first_stage/config.json": newer, "LICENSE": b""}
    )
    main(["push", str(workdir), "someone/x"])
    found = hub.files["someone/x"]
    assert not {PARAMETER_FILE, "first_stage/config.json", "checkpoints/9/state/_METADATA"} & found.keys()
    assert {"LICENSE", CARD_FILE, "config.json"} <= found.keys()
    capsys.readouterr()
    main(["pull", "someone/x", str(tmp_path / "run")])
    assert "run of clip4clip, step 2" in capsys.readouterr().out
    main(["push", str(exported), "someone/x"])
    assert hub.files["someone/x"].keys() == {PARAMETER_FILE, SETTINGS_FILE, CARD_FILE, "LICENSE"}


def test_a_public_repository_is_not_taken_for_a_private_one(hub: LoopbackHub, exported: Path) -> None:
    main(["push", str(exported), "someone/open"])
    before = dict(hub.commits["someone/open"])
    with pytest.raises(UserError, match="someone/open is public already"):
        main(["push", str(exported), "someone/open", "--private"])
    assert hub.commits["someone/open"] == before
    main(["push", str(exported), "someone/closed", "--private"])
    main(["push", str(exported), "someone/closed", "--private"])  # again into a private one


def test_settings_of_others_are_data(
    hub: LoopbackHub, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["push", str(exported), "someone/small"])
    settings = json.loads(hub.files["someone/small"][SETTINGS_FILE])
    replaced(hub, "someone/small", **{SETTINGS_FILE: json.dumps(settings | {"system": "{out.parent}:X"}).encode()})
    capsys.readouterr()
    main(["pull", "someone/small", str(tmp_path / "small"), "--trust"])
    assert "exported {out.parent}:X in" in capsys.readouterr().out
    settings.pop("system")
    replaced(hub, "someone/small", **{SETTINGS_FILE: json.dumps(settings).encode()})
    with pytest.raises(UserError, match=r"someone/small/config\.json names no system"):
        main(["pull", "someone/small", str(tmp_path / "other")])


def replaced(hub: LoopbackHub, name: str, **files: bytes) -> None:
    """Commit files to a repository, as anyone can with another program."""
    hub.files[name] = {**hub.files[name], **files}
    hub.commits[name][f"{len(hub.commits[name]):040}"] = hub.files[name]


@pytest.mark.parametrize("place", ["config.json", "first_stage/config.json", "nested"])
def test_code_that_a_config_names_is_not_imported_unless_trusted(
    hub: LoopbackHub, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    main(["push", str(workdir), "someone/run"])
    config = json.loads(hub.files["someone/run"]["config.json"])
    theirs = {"system": "theirs_of_the_test.head:Head", "head": {}}
    config |= {"first_stage": config | theirs} if place == "nested" else theirs
    replaced(hub, "someone/run", **{place.replace("nested", "config.json"): json.dumps(config).encode()})
    (tmp_path / "theirs_of_the_test").mkdir()
    (tmp_path / "theirs_of_the_test/head.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"config\.json: system 'theirs_of.* pull with --trust if you trust its author"):
        main(["pull", "someone/run", str(tmp_path / "run")])
    assert "theirs_of_the_test.head" not in sys.modules and not (tmp_path / "run").exists()
    main(["pull", "someone/run", str(tmp_path / "run"), "--trust"])
    assert (tmp_path / "run/config.json").is_file()
    sys.modules.pop("theirs_of_the_test.head", None)


@pytest.mark.parametrize(
    "path", ["checkpoints/head.py", "checkpoints/2/state/d/head.so", "first_stage/x.pth", "checkpoints/2/head/a.pyc"]
)
def test_a_file_that_no_run_has_is_refused_by_name(hub: LoopbackHub, workdir: Path, tmp_path: Path, path: str) -> None:
    main(["push", str(workdir), "someone/run"])
    replaced(hub, "someone/run", **{path: b"x = 1"})
    with pytest.raises(UserError, match=f"someone/run: {path} is no file of a run"):
        main(["pull", "someone/run", str(tmp_path / "run")])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_one_line_and_leaves_nothing(
    hub: LoopbackHub, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["someone/clip"] = {}
    hub.commits["someone/clip"] = {"0" * 40: {"config.json": b"{}", "model.safetensors": b"x"}}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    cases = {
        ("pull", "someone/none", str(tmp_path / "a")): "someone/none: .*check the name, or set HF_TOKEN",
        ("pull", "someone/clip", str(tmp_path / "b")): "--config.init_from=someone/clip",
        ("pull", "someone/clip", str(tmp_path / "c"), "--revision=v9"): "someone/clip has no such revision",
        ("pull", "someone/clip", str(tmp_path / "full")): "exists; give a new folder",
        ("push", str(tmp_path / "full"), "someone/x"): "neither a work directory nor a folder of `search export`",
        ("push", str(exported), "no name/at all/x"): "'no name/at all/x' is no name of a repository: give USER/MODEL",
        ("pull", "small", str(tmp_path / "d")): "'small' is no name of a repository: give USER/MODEL",
    }
    for arguments, message in cases.items():
        with pytest.raises(UserError, match=message) as raised:
            main(arguments)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"401.*HF_TOKEN is absent or wrong: set it, .*, then push again: files change"):
        main(["push", str(exported), "someone/x"])
    assert "someone/x" not in hub.files and [path.name for path in tmp_path.iterdir()] == ["full"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the hub cannot be used"):
        main(["pull", "someone/small", str(tmp_path / "d")])


def test_a_failed_upload_says_why_and_the_next_one_is_whole(
    hub: LoopbackHub, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fault, message in (
        (
            (403, "/large/"),
            r"uploading 'parameters.safetensors' .*403.*does not allow this: use a token with the right",
        ),
        ((0, "/commit/"), r"\(Server disconnected .*\); check the connection and HF_TOKEN, then push again"),
    ):
        hub.fault = fault
        with pytest.raises(UserError, match=message) as raised:
            main(["push", str(exported), "someone/cut"])
        assert "\n" not in str(raised.value) and not hub.files["someone/cut"]
    hub.fault = None
    main(["push", str(exported), "someone/cut"])
    assert hub.files["someone/cut"].keys() == {PARAMETER_FILE, SETTINGS_FILE, CARD_FILE}
    replaced(hub, "someone/cut", **{PARAMETER_FILE: b"damaged"})
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^someone/cut/parameters\.safetensors is truncated"):
        main(["pull", "someone/cut", str(tmp_path / "new")])
    assert not list(tmp_path.iterdir())
