"""Blockwise scoring: the same numbers whatever the blocks, one compilation, nothing leaks between texts."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.scoring.gallery import (
    ScoringOptions,
    even_part,
    fitting_block,
    make_score,
    prepare_all,
    score_gallery,
)
from tests.scoring.fake_heads import Cosine, Counting, NoisyAttention, at_once, gallery, initialised

DRAWS = Draws(jax.random.key(7))
HEAD = NoisyAttention()


@pytest.fixture(scope="module")
def params() -> dict:
    return initialised(HEAD)


@functools.cache
def expected(noise: str) -> np.ndarray:
    return at_once(HEAD, initialised(HEAD), *gallery(17, 11), Draws(DRAWS.key, noise=noise))


@pytest.mark.parametrize(
    ("block", "video_block", "noise"),
    [
        (1, 1, "per_text"),
        (3, 5, "per_text"),
        (3, 5, "per_pair"),
        (100, 100, "per_text"),
        (None, None, "per_text"),
        (2, None, "per_pair"),
    ],
)
def test_blocks_do_not_change_scores(params, block, video_block, noise) -> None:
    draws = Draws(DRAWS.key, noise=noise)
    scores = score_gallery(HEAD, params, *gallery(17, 11), draws=draws, options=ScoringOptions(block, video_block))
    assert scores.shape == (17, 11) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected(noise), atol=1e-5)


def test_one_text_and_one_video() -> None:
    texts, videos = gallery(1, 1)
    assert score_gallery(Cosine(), {}, texts, videos, draws=DRAWS).shape == (1, 1)


def test_several_batches_of_preparation(params) -> None:
    _, videos = gallery(17, 11)
    score = make_score(HEAD)
    in_batches = prepare_all(score.prepare_video, params, videos, batch=4)
    whole = prepare_all(score.prepare_video, params, videos)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:11], b, atol=1e-6), in_batches, whole)


@pytest.mark.parametrize("block", [5, None])
def test_one_compilation_serves_all_blocks_and_repeated_evaluation(params, block) -> None:
    Counting.traces = 0
    head = Counting(name=f"block {block}")
    for seed in range(3):
        texts, videos = gallery(13, 7, seed)
        draws = Draws(jax.random.key(seed))
        score_gallery(head, params, texts, videos, draws=draws, options=ScoringOptions(block, block and 4))
    assert Counting.traces == 1


def test_other_captions_and_videos_leave_a_row_unchanged(params) -> None:
    texts, videos = gallery(17, 11)
    full = expected("per_text")
    rows, columns = np.array([10, 2, 7]), np.array([8, 0, 3, 1])
    part = jax.tree.map(lambda leaf: leaf[rows], texts), jax.tree.map(lambda leaf: leaf[columns], videos)
    np.testing.assert_allclose(
        score_gallery(HEAD, params, *part, draws=DRAWS, options=ScoringOptions(2, 3)),
        full[np.ix_(rows, columns)],
        atol=1e-5,
    )


def test_progress_counts_every_pair_once(params) -> None:
    calls: list[tuple[int, int]] = []
    texts, videos = gallery(10, 6)
    options = ScoringOptions(4, 5, progress=lambda _, *call: calls.append(call))
    score_gallery(HEAD, params, texts, videos, draws=DRAWS, options=options)
    assert calls[-1] == (60, 60) and len(calls) == 6
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_memory_budget_makes_blocks_smaller_until_they_fit(params) -> None:
    def need(size: tuple[int, int]) -> int:
        return 100 + 10 * size[0] * size[1]

    assert fitting_block((32, 128), (True, True), need, 1 << 20) == (32, 128)
    for budget in (20000, 5000, 1000, 110):
        rows, columns = fitting_block((32, 128), (True, True), need, budget)
        assert need((rows, columns)) <= budget
        assert 3 * need((rows, columns)) > budget or (rows, columns) == (1, 1)
    assert fitting_block((32, 128), (False, True), need, 5000)[0] == 32
    assert fitting_block((32, 128), (True, False), need, 5000)[1] == 128
    with pytest.raises(UserError, match=r"1 texts × 1 videos needs 110 bytes, more than the memory budget of 50"):
        fitting_block((32, 128), (True, True), need, 50)
    assert fitting_block((32, 128), (True, True), need, 20000, aim=5000) == fitting_block(
        (32, 128), (True, True), need, 5000
    )
    assert fitting_block((32, 128), (True, True), need, 110, aim=50) == (1, 1)  # it need not be met
    with pytest.raises(UserError, match="32 texts × 1 videos"):
        fitting_block((32, 128), (False, True), need, 200)


@pytest.mark.parametrize(("count", "largest", "rows"), [(1000, 256, 250), (33, 32, 17), (5, 32, 5), (64, 32, 32)])
def test_blocks_are_evenly_filled(count, largest, rows) -> None:
    assert even_part(count, largest) == rows


def test_small_memory_budget_gives_the_same_scores(params) -> None:
    calls: list[int] = []
    options = ScoringOptions(memory_budget=8_000, progress=lambda _, done, __: calls.append(done))
    scores = score_gallery(HEAD, params, *gallery(17, 11), draws=DRAWS, options=options)
    assert len(calls) > 1
    np.testing.assert_allclose(scores, expected("per_text"), atol=1e-5)


def test_refuses_an_empty_gallery_and_impossible_blocks(params) -> None:
    texts, videos = gallery(3, 2)
    with pytest.raises(UserError, match="nothing to score: 0 texts and 2 videos"):
        score_gallery(HEAD, params, jax.tree.map(lambda leaf: leaf[:0], texts), videos, draws=DRAWS)
    for block, video_block in ((-1, None), (0, None), (None, 0)):
        with pytest.raises(UserError, match="at least one text"):
            score_gallery(HEAD, params, texts, videos, draws=DRAWS, options=ScoringOptions(block, video_block))
