"""Reranking: equal to full scoring where it scores, the candidates' order everywhere else."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import Placement
from eaglenet_jax.scoring.rerank import RerankOptions, candidate_recall, mean_pooled_cosine, rerank
from tests.scoring.fake_heads import Cosine, NoisyAttention, at_once, gallery, initialised

HEAD, DRAWS = NoisyAttention(), Draws(jax.random.key(2))
TEXTS, VIDEOS = gallery(13, 9)


@functools.cache
def full() -> tuple[dict, np.ndarray]:
    params = initialised(HEAD)
    return params, at_once(HEAD, params, TEXTS, VIDEOS, DRAWS)


def candidates() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, (13, 9)) / 4.0  # with ties


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_all_candidates_is_full_scoring(direction) -> None:
    params, scores = full()
    options = RerankOptions(100, direction, batch=4)
    result = rerank(candidates(), HEAD, params, TEXTS, VIDEOS, draws=DRAWS, options=options)
    np.testing.assert_allclose(result, scores, atol=1e-5)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("combine", ["replace", "add"])
def test_best_candidates_come_first_by_the_head_and_the_rest_as_before(direction, combine) -> None:
    params, scores = full()
    first = candidates()
    options = RerankOptions(4, direction, combine, batch=5)
    result = rerank(first, HEAD, params, TEXTS, VIDEOS, draws=DRAWS, options=options)
    if direction == "v2t":
        first, scores, result = first.T, scores.T, result.T
    for before, head, after in zip(first, scores, result, strict=True):
        best = np.lexsort((np.arange(len(before)), -before))[:4]  # independent: a full stable sort
        rest = np.setdiff1d(np.arange(len(before)), best)
        expected = head[best] + (before[best] if combine == "add" else 0)
        np.testing.assert_allclose(after[best], expected, atol=1e-5)
        assert after[best].min() > after[rest].max()
        np.testing.assert_array_equal(  # order and ties
            np.sign(after[rest][:, None] - after[rest]), np.sign(before[rest][:, None] - before[rest])
        )


def test_one_compilation_serves_all_batches() -> None:
    class Traced(Cosine):
        traces = 0

        def score(self, *args, **kwargs):
            Traced.traces += 1
            return super().score(*args, **kwargs)

    for _ in range(2):
        rerank(None, Traced(), {}, TEXTS, VIDEOS, draws=DRAWS, options=RerankOptions(3, batch=4))
    assert Traced.traces == 1


def test_the_memory_budget_decides_how_many_queries_are_scored_at_a_time() -> None:
    params, scores = full()
    done: list[int] = []
    options = RerankOptions(9, progress=lambda _, count, __: done.append(count))

    def reranked(memory_budget: int | None) -> np.ndarray:
        within = dataclasses.replace(options, memory_budget=memory_budget)
        return rerank(None, HEAD, params, TEXTS, VIDEOS, draws=DRAWS, options=within)

    reranked(None)
    assert done == [13]
    result = reranked(20_000)
    assert len(done) > 2 and done[-1] == 13
    np.testing.assert_allclose(result, scores, atol=1e-5)
    with pytest.raises(UserError, match="more than the memory budget of 10:"):
        reranked(10)


def test_default_candidates_are_mean_pooled_cosines() -> None:
    expected = np.empty((13, 9))
    for i in range(13):
        for j in range(9):
            frames = [f / np.linalg.norm(f) for f, valid in zip(VIDEOS.frames[j], VIDEOS.mask[j], strict=True) if valid]
            mean = np.mean(frames, axis=0)
            text = TEXTS.pooled[i]
            expected[i, j] = mean @ text / np.linalg.norm(mean) / np.linalg.norm(text)
    np.testing.assert_allclose(mean_pooled_cosine(TEXTS, VIDEOS), expected, atol=1e-6)


def test_progress_and_candidate_recall() -> None:
    calls: list[tuple[int, int]] = []
    report = lambda _, *call: calls.append(call)  # noqa: E731
    rerank(None, Cosine(), {}, TEXTS, VIDEOS, draws=DRAWS, options=RerankOptions(2, batch=5, progress=report))
    assert calls == [(5, 13), (10, 13), (13, 13)]
    assert candidate_recall(Placement(np.array([0, 2, 3, 9]), np.zeros(4, int)), 3) == 50.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": np.zeros((13, 8))}, "13 texts × 9 videos"),
        ({"candidates": np.full((13, 9), np.nan)}, "text 0 and video 0 is nan"),
        ({"direction": "both"}, "'t2v' or 'v2t'"),
        ({"combine": "mean"}, "'replace' or 'add'"),
        ({"top_k": 0}, "at least one candidate"),
        ({"batch": 0}, "at least one query"),
    ],
)
def test_refuses_what_does_not_fit(change, message) -> None:
    change = dict(change)
    first = change.pop("candidates", candidates())
    options = dataclasses.replace(RerankOptions(3), **change)
    with pytest.raises(UserError, match=message):
        rerank(first, Cosine(), {}, TEXTS, VIDEOS, draws=DRAWS, options=options)
