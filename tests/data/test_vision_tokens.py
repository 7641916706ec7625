"""Tokens of another encoder: shards of a split, and how they travel with their videos."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.data import pipeline, vision_tokens
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.data.vision_tokens import TokenReader, TokensHeader, header_content, shard_content, shard_file
from eaglenet_jax.errors import UserError

HEADER = TokensHeader("abc", "an/encoder", videos=7, frames=2, count=3, width=4)


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setattr(vision_tokens, "SHARD_VIDEOS", 3)
    tokens = np.random.default_rng(0).normal(size=(7, 2, 3, 4))
    for index in range(HEADER.shards):
        write_atomically(shard_file(tmp_path, index), shard_content(tokens[slice(*HEADER.shard(index))]))
    write_atomically(tmp_path / "header.json", header_content(HEADER))
    return tmp_path, tokens.astype(np.float16)


def test_rows_come_from_their_shards_in_every_process(shards):
    folder, tokens = shards
    assert HEADER.shards == 3
    reader = TokenReader.open(folder, HEADER)
    np.testing.assert_array_equal(reader([6, 0, 3, 3]), tokens[[6, 0, 3, 3]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))(np.arange(7)), tokens)


def test_other_missing_and_damaged_tokens_are_named(shards):
    folder, _ = shards
    with pytest.raises(UserError, match="frames is 2, needed is 5"):
        TokenReader.open(folder, dataclasses.replace(HEADER, frames=5))
    np.save(shard_file(folder, 1), np.zeros((3, 2, 3, 5), np.float16))
    with pytest.raises(UserError, match=r"00001\.npy holds float16 \(3, 2, 3, 5\)"):
        TokenReader.open(folder, HEADER)([4])
    shard_file(folder, 0).write_bytes(b"no")
    with pytest.raises(UserError, match=r"00000\.npy is missing or damaged"):
        TokenReader.open(folder, HEADER)([0])
    (folder / "header.json").unlink()
    with pytest.raises(UserError, match=r"no tokens of an/encoder; .*eaglenet_jax\.vision_tokens"):
        TokenReader.open(folder, HEADER)
    with pytest.raises(UserError, match="not finite, or too large"):
        shard_content(np.full((1, 1, 1, 1), 1e6))


def test_bfloat16_is_read_as_it_was_and_holds_what_float16_does_not(tmp_path):
    header = dataclasses.replace(HEADER, videos=2, dtype="bfloat16")
    tokens = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32) * 1e5
    with pytest.raises(UserError, match="too large for float16; give --dtype=bfloat16"):
        shard_content(tokens)
    write_atomically(shard_file(tmp_path, 0), shard_content(tokens, "bfloat16"))
    write_atomically(tmp_path / "header.json", header_content(header))
    reader = TokenReader.open(tmp_path, dataclasses.replace(HEADER, videos=2))  # a head asks for no type
    found = pickle.loads(pickle.dumps(reader))([1, 0])
    assert found.dtype == header.numpy_type and found.nbytes == header.bytes
    np.testing.assert_allclose(found.astype(np.float32), tokens[::-1], rtol=2**-8)
    with pytest.raises(UserError, match="not finite, or too large for bfloat16; use another encoder"):
        shard_content(np.full((1, 1, 1, 1), np.nan), "bfloat16")
    write_atomically(tmp_path / "header.json", header_content(dataclasses.replace(header, dtype="float8")))
    with pytest.raises(UserError, match="names the type 'float8'"):
        TokenReader.open(tmp_path, dataclasses.replace(HEADER, videos=2))


def test_tokens_travel_with_their_videos(shards, prepared):
    folder, tokens = shards
    split = dataclasses.replace(prepared.split("train"), tokens=TokenReader.open(folder, HEADER))
    batches = list(pipeline.video_batches(split, batch_size=4, max_frames=2, between=(1, 7)))
    found = np.concatenate([batch["video_extra"]["tokens"][batch["valid"]] for batch in batches])
    np.testing.assert_array_equal(found, tokens[1:])
    (batch,) = pipeline.batches(
        pipeline.train_dataset(split, Tokenizer(8), batch_size=5, max_frames=2, seed=1), start=0, stop=1
    )
    ids = list(pipeline.example_ids(split.video_ids))
    rows = [ids.index(video_id) for video_id in batch["video_id"]]
    np.testing.assert_array_equal(batch["video_extra"]["tokens"], tokens[rows])
