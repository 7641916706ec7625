"""Tokens made from a prepared dataset by an encoder in Hugging Face's form, and read back for a second stage."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax import vision_tokens
from eaglenet_jax.clip.eva import EvaConfig, EvaVision
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.data.vision_tokens import TokensHeader
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import VideoFeatures
from eaglenet_jax.port.blip2_vision import BLIP2_VISION, SIZES, eva_shapes
from eaglenet_jax.port.files import write_tensors
from eaglenet_jax.port.load import save_clip
from eaglenet_jax.port.table import to_pytorch
from eaglenet_jax.runs.cached_features import megabytes
from eaglenet_jax.runs.evaluate_split import _shuffled
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.vision_tokens import _Progress, make_tokens
from eaglenet_jax.system import build_clip_config, build_system
from tests.clip.sizes import encode_video
from tests.data.prepared import write_prepared


def _overrides(root: Path, width: int) -> list[str]:
    """Overrides for tokens of an encoder under `root`, 17 a frame."""
    return [
        f"--config.data.prepared={write_prepared(root / 'prepared')}",
        "--config.selection=test",
        "--config.clip.image_size=16",
        "--config.clip.patch_size=4",
        f"--config.head.tokens.source={root / 'encoder'}",
        "--config.head.tokens.count=17",
        f"--config.head.tokens.width={width}",
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokens")
    overrides = _overrides(root, 16)
    config = load_config("demo:tiny,crosstvr", overrides)
    clip_config = build_clip_config(config.clip)
    clip = Clip(clip_config)
    tokens, mask = np.zeros((1, 20), np.int32), np.ones((1, 1), bool)
    params = jax.jit(clip.init)(jax.random.key(1), tokens, np.zeros((1, 1, 16, 16, 3), np.uint8), mask)["params"]
    save_clip(root / "encoder", clip_config, {"clip": params}, np.float32(1))
    return config, overrides, clip, params, make_tokens(config, batch_size=3, dtype="float32")


def test_tokens_are_those_of_the_encoder(made):
    config, _, clip, params, folders = made
    split = open_experiment(config).dataset.split("test")
    assert set(folders) == {"train", "test"} and len(split.tokens(np.arange(5))) == 5
    frames, mask = split.frames(4, config.max_frames)
    clip = Clip(build_clip_config(config.clip.to_dict() | {"shift_blocks": ()}))
    features, patches = encode_video(clip, params, jnp.asarray(frames[None]), jnp.asarray(mask[None]), True)
    expected = np.concatenate([features[:, :, None], patches], axis=2)
    np.testing.assert_allclose(split.tokens([4]), expected, rtol=2e-3, atol=2e-3)


def test_a_second_call_makes_what_is_missing_alone(made):
    config, overrides, *_, folders = made
    shard = folders["train"] / "00000.npy"
    before = {file: file.stat().st_mtime_ns for folder in folders.values() for file in folder.iterdir()}
    vision_tokens.main(["--config=demo:tiny,crosstvr", *overrides, "--dtype=float32"])
    assert {file: file.stat().st_mtime_ns for file in before} == before
    content = shard.read_bytes()
    (folders["train"] / "header.json").rename(folders["train"] / "begun.json")  # as if it had been killed
    shard.unlink()
    make_tokens(config, batch_size=2, dtype="float32")
    np.testing.assert_allclose(np.load(shard), np.load(io.BytesIO(content)), atol=2e-3)
    assert sorted(file.name for file in folders["train"].iterdir()) == ["00000.npy", "header.json"]


def test_a_lost_shard_is_made_again_and_shards_of_another_config_are_not_taken(made):
    config, *_, folders = made
    shard = folders["train"] / "00000.npy"
    content = np.load(shard)
    shard.unlink()
    make_tokens(config, dtype="float32")
    np.testing.assert_allclose(np.load(shard), content, atol=2e-3)
    # A header of this config over shards of another, as if the call for the other had been killed.
    (folders["train"] / "begun.json").write_text("{}")
    np.save(shard, np.zeros_like(content))
    make_tokens(config, dtype="float32")
    np.testing.assert_allclose(np.load(shard), content, atol=2e-3)
    assert sorted(file.name for file in folders["train"].iterdir()) == ["00000.npy", "header.json"]


def test_tokens_of_another_type_are_kept_or_named_and_never_deleted(made, capsys):
    config, *_, folders = made
    test, train = folders["test"], folders["train"]
    for folder in folders.values():  # as before headers named a type
        header = json.loads((folder / "header.json").read_text())
        assert header.pop("dtype") == "float16"
        (folder / "header.json").write_text(json.dumps(header, indent=1))
    before = {file: file.stat().st_mtime_ns for folder in folders.values() for file in folder.iterdir()}
    assert make_tokens(config) == folders
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert f"train: kept, of float16, in {train}; delete it for bfloat16" in capsys.readouterr().err
    (train / "header.json").rename(train / "begun.json")  # as if it had been killed
    with pytest.raises(UserError, match=r"holds a part of its tokens as float16; go on with --dtype=float32"):
        make_tokens(config)
    assert (train / "00000.npy").stat().st_mtime_ns == before[train / "00000.npy"]
    make_tokens(config, dtype="float32")
    assert (train / "00000.npy").stat().st_mtime_ns == before[train / "00000.npy"]
    assert sorted(file.name for file in train.iterdir()) == ["00000.npy", "header.json"]
    (test / "header.json").write_text("{}")
    capsys.readouterr()
    make_tokens(config, dtype="float32")
    assert f"test: the tokens in {test} are of another config; they are made again" in capsys.readouterr().err


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    """A config whose second stage reads BLIP-2's tokens, with its encoder and parameters."""
    root = tmp_path_factory.mktemp("blip2")
    eva = EvaConfig(width=24, layers=1, heads=2, hidden=40, image_size=16, patch_size=4)
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), eva_shapes(eva))
    write_tensors(root / "encoder/model.safetensors", to_pytorch(BLIP2_VISION, params))
    names = {theirs: getattr(eva, ours) for ours, (theirs, _) in SIZES.items()}
    written = {"model_type": "blip-2", "vision_config": names, "qformer_config": {}}
    (root / "encoder/config.json").write_text(json.dumps(written))
    overrides = _overrides(root, 24)
    return load_config("demo:tiny,crosstvr", overrides), eva, params


def test_tokens_of_blip2_are_stored_as_bfloat16_without_a_projection(blip2, capsys):
    config, eva, params = blip2
    folders = make_tokens(config, batch_size=3)
    said = capsys.readouterr().err
    header = json.loads((folders["test"] / "header.json").read_text())
    assert header["dtype"] == "bfloat16" and header["width"] == 24 == eva.width
    stored = np.load(folders["test"] / "00000.npy")
    assert stored.dtype == np.uint16 and f"test: {megabytes(stored.nbytes)} of bfloat16 in" in said
    split = open_experiment(config).dataset.split("test")
    frames, mask = split.frames(4, config.max_frames)
    expected = jax.jit(EvaVision(eva).apply)({"params": params}, frames[None], mask[None])
    found = split.tokens([4])
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=0, atol=0.03 * np.abs(expected).max())
    np.testing.assert_array_equal(stored[4], found[0].view(np.uint16))
    head = build_system(config).head
    video = VideoFeatures(
        jnp.zeros(1, jnp.uint32), jnp.zeros((1, 6, 16)), None, jnp.asarray(mask[None]), {"tokens": jnp.asarray(found)}
    )
    prepare = functools.partial(head.init_with_output, method="prepare_video")
    prepared = jax.eval_shape(lambda key: prepare(key, video)[0], jax.random.key(0))
    assert prepared.tokens.shape == (1, config.max_frames, 17, 24) and prepared.tokens.dtype == np.float32


def test_the_time_that_is_left_is_by_the_rate_after_the_first_batch(monkeypatch):
    clock = iter([100.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = _Progress("train", TokensHeader("", "an/encoder", 1000, 12, 257, 1408, "bfloat16"))
    assert progress.line(0) == "train: 0 of 1000 videos"
    for _ in range(4):
        progress.encoded(5)
    assert progress.line(20) == "train: 20 of 1000 videos, about 33 min left at 0.5 videos a second"


def test_frames_and_their_tokens_are_shuffled_together():
    mask = np.arange(4) < np.array([4, 2])[:, None]
    frames = np.arange(8).reshape(2, 4)
    (found,) = _shuffled(
        [{"video_id": [3, 4], "frame_mask": mask, "frames": frames, "video_extra": {"tokens": frames}}]
    )
    np.testing.assert_array_equal(found["frames"], found["video_extra"]["tokens"])
    assert sorted(found["frames"][0]) == [0, 1, 2, 3] and list(found["frames"][1, 2:]) == [6, 7]


def test_what_does_not_fit_is_named(made):
    _, overrides, *_ = made
    with pytest.raises(UserError, match=r"17 tokens of 16 from frames of 16 pixels; .* reads 17 of 512"):
        make_tokens(load_config("demo:tiny,crosstvr", [*overrides, "--config.head.tokens.width=512"]))
    with pytest.raises(UserError, match=r"crosstvr: the head reads no vision encoder of its own.*tokens\.source"):
        make_tokens(load_config("demo:tiny,crosstvr", overrides[:4]))
    other = load_config("demo:tiny,crosstvr", [*overrides, "--config.max_frames=3"])
    with pytest.raises(UserError, match=r"frames is 6, needed is 3|holds no tokens"):
        open_experiment(other).dataset.split("train")
