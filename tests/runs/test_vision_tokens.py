"""Tokens made from a prepared dataset by an encoder in Hugging Face's form, and read back for a second stage."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax import vision_tokens
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.load import save_clip
from eaglenet_jax.runs.evaluate_split import _shuffled
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.vision_tokens import make_tokens
from eaglenet_jax.system import build_clip_config
from tests.clip.sizes import encode_video
from tests.data.prepared import write_prepared


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokens")
    overrides = [
        f"--config.data.prepared={write_prepared(root / 'prepared')}",
        "--config.selection=test",
        "--config.clip.image_size=16",
        "--config.clip.patch_size=4",
        f"--config.head.tokens.source={root / 'encoder'}",
        "--config.head.tokens.count=17",
        "--config.head.tokens.width=16",
    ]
    config = load_config("demo:tiny,crosstvr", overrides)
    clip_config = build_clip_config(config.clip)
    clip = Clip(clip_config)
    tokens, mask = np.zeros((1, 20), np.int32), np.ones((1, 1), bool)
    params = jax.jit(clip.init)(jax.random.key(1), tokens, np.zeros((1, 1, 16, 16, 3), np.uint8), mask)["params"]
    save_clip(root / "encoder", clip_config, {"clip": params}, np.float32(1))
    return config, overrides, clip, params, make_tokens(config, batch_size=3)


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
    vision_tokens.main(["--config=demo:tiny,crosstvr", *overrides])
    assert {file: file.stat().st_mtime_ns for file in before} == before
    content = shard.read_bytes()
    (folders["train"] / "header.json").rename(folders["train"] / "begun.json")  # as if it had been killed
    shard.unlink()
    make_tokens(config, batch_size=2)
    np.testing.assert_allclose(np.load(shard), np.load(io.BytesIO(content)), atol=2e-3)
    assert sorted(file.name for file in folders["train"].iterdir()) == ["00000.npy", "header.json"]


def test_a_lost_shard_is_made_again_and_shards_of_another_config_are_not_taken(made):
    config, *_, folders = made
    shard = folders["train"] / "00000.npy"
    content = np.load(shard)
    shard.unlink()
    make_tokens(config)
    np.testing.assert_allclose(np.load(shard), content, atol=2e-3)
    # A header of this config over shards of another, as if the call for the other had been killed.
    (folders["train"] / "begun.json").write_text("{}")
    np.save(shard, np.zeros_like(content))
    make_tokens(config)
    np.testing.assert_allclose(np.load(shard), content, atol=2e-3)
    assert sorted(file.name for file in folders["train"].iterdir()) == ["00000.npy", "header.json"]


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
