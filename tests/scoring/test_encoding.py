from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.scoring.encoding import encode_all
from eaglenet_jax.scoring.gallery import score_gallery
from tests.scoring.fake_heads import Cosine, gallery


def encode(batch: dict) -> TextFeatures:
    assert set(batch) == {"text_id", "tokens"}
    tokens = jnp.asarray(batch["tokens"])
    return TextFeatures(jnp.asarray(batch["text_id"]), tokens * 2.0, None, tokens > 0, {"half": tokens / 2})


def batches(count: int, size: int) -> list[dict[str, np.ndarray]]:
    """Rows 0 … count − 1 in batches of one size, the last filled up with row 0."""
    result = []
    for start in range(0, count, size):
        ids = np.arange(start, start + size)
        valid = ids < count
        ids = np.where(valid, ids, 0).astype(np.uint32)
        result.append({"text_id": ids, "tokens": np.stack([ids, ids + 1], axis=1).astype(np.int32), "valid": valid})
    return result


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (1, 4), (9, 1)])
def test_every_row_is_encoded_once_in_order_and_padding_is_dropped(count, size) -> None:
    calls: list[tuple[str, int, int]] = []
    features = encode_all(encode, batches(count, size), progress=lambda *call: calls.append(call))
    assert features.id.tolist() == list(range(count))
    assert features.words is None
    np.testing.assert_array_equal(features.pooled[:, 1], 2.0 * (np.arange(count) + 1))
    np.testing.assert_array_equal(features.extra["half"][:, 0], np.arange(count) / 2)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(features))
    assert calls[-1] == ("encoding rows", count, 0) and len(calls) == -(-count // size)


def test_batches_without_valid_are_taken_whole() -> None:
    whole = [{name: value for name, value in batch.items() if name != "valid"} for batch in batches(6, 3)]
    assert encode_all(encode, iter(whole)).id.tolist() == list(range(6))


@pytest.mark.parametrize("nothing", [[], [batches(1, 2)[0] | {"valid": np.zeros(2, bool)}]])
def test_refuses_a_split_without_examples(nothing) -> None:
    with pytest.raises(UserError, match="no examples"):
        encode_all(encode, nothing)


def test_a_perfect_system_has_recall_100_and_its_opposite_0() -> None:
    _, videos = gallery(1, 20, width=32)
    mean = videos.frames.sum(axis=1)
    text_video = np.repeat(np.arange(20), 2)
    mask = np.ones((40, 2), bool)
    for sign, recall in ((1.0, 100.0), (-1.0, 0.0)):
        texts = TextFeatures(np.arange(40, dtype=np.uint32), sign * mean[text_video], None, mask)
        scores = score_gallery(Cosine(), {}, texts, videos, draws=Draws(jax.random.key(0)))
        metrics = retrieval_metrics(scores, text_video)
        assert metrics["t2v"]["R@1"] == metrics["v2t"]["R@1"] == recall
        assert scores.shape == (40, 20)
