"""Training a head on features that a frozen CLIP computes once: the same steps, one encoding, exact resumption."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from eaglenet_jax import evaluate
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.data.cached_features import ArrayForm, FeatureTable, StoredFeatures
from eaglenet_jax.data.syntax import Syntax, syntax_content, syntax_file
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures
from eaglenet_jax.model import load
from eaglenet_jax.port.load import load_clip, save_clip
from eaglenet_jax.runs import cached_features as caching
from eaglenet_jax.runs import parameter_digest
from eaglenet_jax.runs import train_stage as one_stage
from eaglenet_jax.runs.cached_features import cached_split
from eaglenet_jax.runs.evaluate_split import encode_split, score_split
from eaglenet_jax.runs.experiment import open_data, open_experiment
from eaglenet_jax.runs.parameter_digest import ParameterDigest
from eaglenet_jax.runs.plan import optimizer_settings, plan_run
from eaglenet_jax.runs.start_block import start_block
from eaglenet_jax.runs.train import train_run
from eaglenet_jax.runs.workdir import load_checkpoint
from eaglenet_jax.system import OnFeatures
from eaglenet_jax.training.checkpoint_files import read_arrays, saved_shapes
from eaglenet_jax.training.optimizer import parameter_name, parameter_rates
from eaglenet_jax.training.step import initial_state, make_train_step
from tests.data.prepared import CAPTION_COUNTS, write_prepared
from tests.random_parameters import random_parameters


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Small videos with captions, their words parsed as if the second one were a noun and the third its verb."""
    folder = write_prepared(tmp_path_factory.mktemp("cached") / "prepared")
    parse = Syntax(verbs=((2, 3),), nouns=((1, 2),), adjectives=((0, 1),), noun_verb=(0,), adjective_noun=(0,))
    for split, counts in CAPTION_COUNTS.items():
        file = syntax_file(folder, split)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(syntax_content("made", "abc", [parse] * sum(counts)))
    return folder


SMALL = ("selection=test", "clip.image_size=16", "clip.patch_size=4")


def _flags(prepared: Path, *fields: str) -> list[str]:
    return [f"--config.{field}" for field in (f"data.prepared={prepared}", *SMALL, *fields)]


def _config(prepared: Path, system: str, *fields: str):
    return load_config(f"demo:tiny,{system}", _flags(prepared, *fields))


def _started(prepared: Path, system: str, *fields: str):
    """An experiment on cached features, and random parameters of its system."""
    experiment = open_experiment(_config(prepared, system, "cached_features=True", *fields))
    return experiment, random_parameters(experiment.system)


def _close(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


# The same numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["clip4clip", "shenet"])  # the smallest and the largest features
def test_batches_hold_what_the_encoders_give_in_the_same_order(prepared, system):
    experiment, params = _started(prepared, system)
    stored = cached_split(experiment, params, "train")
    found = stored.training_batches(batch_size=8, seed=0)[1]
    batch = experiment.training_batches()[1]
    text, video = OnFeatures(experiment.system).encode(params, found)
    expected = jax.jit(experiment.system.encode)(params, batch)
    np.testing.assert_array_equal(text.id, batch["text_id"])
    np.testing.assert_array_equal(video.id, batch["video_id"])
    _close((text, video), expected, atol=1e-5)
    assert (text.words is None) == (video.patches is None) == (system == "clip4clip")


def test_parameters_are_hashed_once_for_all_splits(monkeypatch):
    params = {"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}
    device = jax.tree.map(jnp.asarray, params)
    digest, hashed, plain = ParameterDigest(), [], np.ascontiguousarray
    monkeypatch.setattr(parameter_digest.np, "ascontiguousarray", lambda leaf: hashed.append(leaf) or plain(leaf))
    found = {digest.of(device, params) for _ in range(3)}
    assert len(found) == 1 and len(hashed) == 2
    params["a"][0] = 5.0  # arrays of NumPy may change, and are hashed every time
    assert digest.of(params, params) not in found
    other = digest.of(params, params)
    params["a"][0] = 0.0
    assert digest.of(params, params) != other
    assert digest.of(jax.tree.map(jnp.copy, device), params) in found and len(hashed) == 10


FAST = ("xpool",)
STEPS = [system if system in FAST else pytest.param(system, marks=pytest.mark.long) for system in SYSTEMS]


@pytest.mark.parametrize("system", STEPS)
def test_a_step_is_that_of_a_frozen_clip(prepared, system):
    """Same loss, same head, same CLIP; only the gradient's norm lacks the part that nothing follows."""
    experiment, params = _started(prepared, system)
    frozen = _config(prepared, system)
    with frozen.unlocked():
        frozen.optimizer.freeze = frozen.optimizer.freeze or "clip/.*"
    stored = cached_split(experiment, params, "train").training_batches(8, 0)
    results = []
    for config, trainable, batches in (
        (experiment.config, OnFeatures(experiment.system), stored),
        (frozen, experiment.system, experiment.training_batches()),
    ):
        settings = optimizer_settings(config, experiment.system.head.unused_parameters())
        rates = parameter_rates(settings, params)
        labels = jax.tree_util.tree_map_with_path(
            lambda path, _, rates=rates: "frozen" if rates[parameter_name(path)].frozen else "trained", params
        )
        # Plain descent: Adam would blow up the rounding of gradients that are zero, as of a bias before a softmax.
        optimizer = optax.partition({"trained": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels)
        state = initial_state(trainable, optimizer, params)
        step = make_train_step(trainable, optimizer, donate=False)
        for number in range(2):
            state, metrics = step(state, batches[number], jax.random.key(1))
        results.append((state, metrics))
    (state, metrics), (expected, expected_metrics) = results
    assert metrics.keys() == expected_metrics.keys()
    for name in metrics.keys() - {"gradient_norm"}:
        np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=2e-5, err_msg=name)
    assert metrics["gradient_norm"] <= expected_metrics["gradient_norm"] * 1.00001
    _close(state.params["head"], expected.params["head"], atol=2e-5, rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, state.params["clip"], params["clip"])
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state.params, params)), strict=True)]
    assert max(moved) > 1e-5


def test_stored_queries_are_those_of_an_evaluation(prepared):
    """As many captions as the evaluation asks for, and nothing stored where the frames are shuffled."""
    for queries in ("first", "all"):
        experiment, params = _started(prepared, "clip4clip", f"queries={queries}")
        found = encode_split(experiment, params, "test")
        plain = _config(prepared, "clip4clip", f"queries={queries}")
        expected = encode_split(dataclasses.replace(experiment, config=plain), params, "test")
        assert len(found.texts.id) == (5 if queries == "first" else 8)
        _close((found.texts, found.videos), (expected.texts, expected.videos), atol=1e-6)
    before = sorted((prepared / "clip_features").iterdir())
    assert not np.allclose(encode_split(experiment, params, "test", shuffle_frames=True).videos.frames[2], 0)
    assert sorted((prepared / "clip_features").iterdir()) == before


# One encoding --------------------------------------------------------------------------------------------------------


def _encoded(monkeypatch, experiment, params, name="train") -> list[str]:
    """What is encoded to open a split."""
    written = []
    write = caching._write
    with monkeypatch.context() as patched:
        patched.setattr(caching, "_write", lambda table, *rest: (written.append(table.side), write(table, *rest)))
        cached_split(experiment, params, name)
    return written


def test_systems_and_seeds_share_what_another_clip_or_size_does_not(prepared, monkeypatch):
    experiment, params = _started(prepared, "clip4clip")
    cached_split(experiment, params, "train")
    other, _ = _started(prepared, "xpool", "seed=3", "evaluation.batch_size=3")
    head = random_parameters(other.system, seed=3)["head"]
    assert _encoded(monkeypatch, other, {"clip": params["clip"], "head": head}) == []
    moved = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(1e-4), params)
    assert _encoded(monkeypatch, experiment, moved) == ["captions", "videos"]
    fewer = open_experiment(_config(prepared, "clip4clip", "cached_features=True", "max_frames=3"))
    assert _encoded(monkeypatch, fewer, params) == ["videos"]
    shorter = open_experiment(_config(prepared, "clip4clip", "cached_features=True", "max_words=9"))
    assert _encoded(monkeypatch, shorter, params) == ["captions"]
    renewed = {**experiment.dataset.manifest, "states": "prepared again"}
    again = dataclasses.replace(experiment, dataset=dataclasses.replace(experiment.dataset, manifest=renewed))
    assert _encoded(monkeypatch, again, params) == ["captions", "videos"]


TABLE = FeatureTable("captions", "train", 10, {"pooled": ArrayForm((3,), "float32")}, {})
ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)


def _source(calls: list[int], stop: int = 10, pause: float = 0.0):
    """Encode rows of `ROWS` two at a time, up to `stop`; the starts are added to `calls`."""

    def encode(start, progress):
        del progress
        calls.append(start)
        for row in range(start, 10, 2):
            if row >= stop:
                raise KeyboardInterrupt
            time.sleep(pause)
            yield TextFeatures(np.arange(2), ROWS[row : row + 2], None, None)

    return encode


def test_an_interrupted_encoding_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "SECONDS_BETWEEN_NOTES", 0.0)
    calls: list[int] = []
    folder = TABLE.folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        caching._make(TABLE, folder, _source(calls, stop=6), 2, lambda *_: None)
    assert not folder.exists()
    caching._make(TABLE, folder, _source(calls), 2, lambda *_: None)
    assert calls == [0, 6]
    stored = StoredFeatures.open(folder, TABLE)
    np.testing.assert_array_equal(stored.arrays["pooled"], ROWS)
    np.testing.assert_array_equal(stored(np.array([7, 2]))["pooled"], ROWS[[7, 2]])
    assert isinstance(stored.arrays["pooled"], np.memmap)
    assert sorted(file.name for file in folder.iterdir()) == ["header.json", "pooled.npy"]


def test_of_two_processes_one_encodes_and_the_other_waits(tmp_path, capsys):
    calls: list[int] = []
    folder = TABLE.folder(tmp_path)
    arguments = (TABLE, folder, _source(calls, pause=0.1), 2, lambda *_: None)
    both = [threading.Thread(target=caching._make, args=arguments) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert calls == [0] and "waiting for another process that encodes train captions" in capsys.readouterr().err
    np.testing.assert_array_equal(StoredFeatures.open(folder, TABLE).arrays["pooled"], ROWS)


def test_a_disk_that_is_too_small_is_said_before_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    big = dataclasses.replace(TABLE, rows=10**9)
    with pytest.raises(UserError, match=r"train captions need 12,000 MB, and .* has 0.1 MB left"):
        caching._make(big, big.folder(tmp_path), lambda *_: pytest.fail("encoded"), 2, lambda *_: None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "pooled.npy").unlink(), "pooled.npy is missing or damaged"),
        (lambda folder: (folder / "pooled.npy").write_bytes(b"\x93NUMPY"), "pooled.npy is missing or damaged"),
        (lambda folder: np.save(folder / "pooled.npy", ROWS[:9]), r"float32 \(9, 3\), not float32 \(10, 3\)"),
        (lambda folder: np.save(folder / "pooled.npy", ROWS.astype(np.float64)), "holds float64"),
        (lambda folder: np.save(folder / "pooled.npy", ROWS.astype(object)), "pooled.npy is missing or damaged"),
        (lambda folder: (folder / "header.json").write_text("{"), "header.json is missing or damaged"),
        (lambda folder: (folder / "header.json").write_text("{}"), "holds other features than its name says"),
    ],
)
def test_damaged_and_foreign_features_are_refused(tmp_path, damage, message):
    folder = TABLE.folder(tmp_path)
    caching._make(TABLE, folder, _source([]), 2, lambda *_: None)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        StoredFeatures.open(folder, TABLE)
    assert f"delete {folder}" in str(caught.value)


def test_bfloat16_is_stored_bit_by_bit(tmp_path):
    table = dataclasses.replace(TABLE, rows=2, arrays={"pooled": ArrayForm((3,), "bfloat16")})
    values = np.asarray(jnp.asarray([[1.1, -2.7, 3e30], [0.0, 1e-30, 5.0]], jnp.bfloat16))
    folder = table.folder(tmp_path)
    batch = TextFeatures(np.arange(2), values, None, None)
    caching._make(table, folder, lambda *_: iter([batch]), 2, lambda *_: None)
    found = StoredFeatures.open(folder, table)(np.array([1, 0]))["pooled"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(np.float32), values[::-1].astype(np.float32))


# A whole run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(prepared, tmp_path_factory) -> Path:
    """A CLIP in Hugging Face's form, from which the runs below start."""
    experiment, params = _started(prepared, "clip4clip")
    folder = tmp_path_factory.mktemp("source") / "clip"
    save_clip(folder, experiment.system.clip.config, {"clip": params["clip"]}, np.float32(1))
    return folder


def _run_config(prepared: Path, source: Path):
    config = _config(prepared, "xpool", "cached_features=True", "ema_decay=0.5").copy_and_resolve_references()
    with config.unlocked():
        config.first_stage = ConfigDict({})
    config.init_from = str(source)
    return config


def _arrays(workdir: Path) -> dict[str, np.ndarray]:
    step = workdir / "checkpoints/6"
    return read_arrays(step, saved_shapes(step))


@pytest.mark.long
def test_a_run_is_as_any_other_and_continues_exactly(prepared, source, tmp_path, monkeypatch, capsys):
    config = _run_config(prepared, source)
    block = start_block(plan_run(config, tmp_path / "whole"))
    assert f"CLIP frozen, features cached: 0.1 MB in {prepared / 'clip_features'}" in block
    result = train_run(config, tmp_path / "whole")[-1]

    # The checkpoint holds the CLIP that it started from, and is loaded and evaluated without the stored features.
    loaded = load_checkpoint(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, loaded.params["clip"], load_clip(str(source))[1]["clip"])
    shutil.move(prepared / "clip_features", tmp_path / "stored")
    capsys.readouterr()
    evaluate.main([f"--workdir={tmp_path / 'whole'}", "--split=test", "--json"])
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["metrics"]["test"] == result.metrics["test"]
    assert np.isfinite(load(tmp_path / "whole").encode_text("a word").pooled).all()

    # Killed in its second evaluation, it ends as the one that was not.
    evaluations = []

    def stopped(*given, **named):
        evaluations.append(0)
        if len(evaluations) == 2:
            raise KeyboardInterrupt
        return score_split(*given, **named)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(one_stage, "score_split", stopped)
        train_run(config, tmp_path / "killed")
    train_run(config, tmp_path / "killed")
    ours, theirs = _arrays(tmp_path / "killed"), _arrays(tmp_path / "whole")
    assert ours.keys() == theirs.keys() and any("clip" in name for name in ours)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_loop_of_ones_own_is_told_to_encode_itself(prepared, source):
    with pytest.raises(UserError, match=r"config\.cached_features is read by eaglenet_jax.train alone"):
        open_data(_run_config(prepared, source))
