"""After-processing against recorded numbers and against formulas written out entry by entry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.postprocess import choose_temperature, dual_softmax, qb_norm, sinkhorn
from eaglenet_jax.metrics.ranks import place, retrieval_metrics


def scores(texts: int = 7, videos: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 0.1, (texts, videos))


def test_dual_softmax_equals_the_released_numbers(golden) -> None:
    recorded = golden("metrics")
    result = retrieval_metrics(dual_softmax(recorded["single/sims"], temperature=1.0))["t2v"]
    listed = [result[k] for k in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    np.testing.assert_allclose(listed, recorded["single/t2v_dsl_temperature1"], rtol=1e-6)


def test_dual_softmax_normalises_over_the_queries_of_its_direction() -> None:
    s, temperature = scores(), 30.0
    t2v, v2t = dual_softmax(s, temperature), dual_softmax(s, temperature, "v2t")
    for i in range(7):
        for j in range(5):
            over_texts = sum(math.exp(temperature * s[k, j]) for k in range(7))
            over_videos = sum(math.exp(temperature * s[i, k]) for k in range(5))
            assert t2v[i, j] == pytest.approx(s[i, j] * math.exp(temperature * s[i, j]) / over_texts)
            assert v2t[i, j] == pytest.approx(s[i, j] * math.exp(temperature * s[i, j]) / over_videos)


def test_one_matrix_for_both_directions_leaves_the_ranks_of_video_to_text() -> None:
    """TS2-Net's program takes the matrix of text → video for both; that of video → text is another."""
    rng = np.random.default_rng(2)
    s = rng.normal(0.0, 0.1, (40, 40)) + 0.2 * np.eye(40) + rng.normal(0, 0.2, (40, 1))  # some texts are hubs
    np.fill_diagonal(s, np.abs(np.diag(s)) + 0.01)  # right pairs score above 0, wrong ones below it too
    assert s.min() < 0
    raw, released, ours = (place(each).v2t.ranks() for each in (s, dual_softmax(s), dual_softmax(s, direction="v2t")))
    np.testing.assert_array_equal(released, raw)
    assert (ours < 2).mean() > (raw < 2).mean() + 0.1
    assert (place(dual_softmax(s)).t2v.ranks() != place(s).t2v.ranks()).any()


def test_dual_softmax_survives_huge_scores() -> None:
    assert np.isfinite(dual_softmax(1e6 * scores(), 1000.0)).all()


def test_temperature_is_the_best_of_validation() -> None:
    rng = np.random.default_rng(1)
    s = 0.3 * np.eye(60) + rng.normal(0, 0.12, (60, 60)) + rng.normal(0, 0.3, 60)  # some videos are near to every text
    grid = (0.01, 1.0, 30.0)
    recalls = [retrieval_metrics(dual_softmax(s, t))["t2v"]["R@1"] for t in grid]
    assert recalls[grid.index(choose_temperature(s, temperatures=grid))] == max(recalls) > min(recalls)


def test_qb_norm_corrects_queries_at_a_hub_only() -> None:
    s, bank, beta = scores(), scores(9, seed=1), 20.0
    hubs = {int(row.argmax()) for row in bank}
    assert 0 < len(hubs) < 5
    result = qb_norm(s, bank, beta)
    corrected = 0
    for i in range(7):
        for j in range(5):
            expected = s[i, j]
            if int(s[i].argmax()) in hubs:
                corrected += 1
                expected = math.log(math.exp(beta * s[i, j]) / sum(math.exp(beta * b[j]) for b in bank)) / beta
            assert result[i, j] == pytest.approx(expected)
    assert 0 < corrected < 35
    np.testing.assert_allclose(qb_norm(s.T, bank.T, beta, direction="v2t"), result.T)


def test_qb_norm_of_a_query_does_not_depend_on_the_other_queries() -> None:
    s, bank = scores(), scores(9, seed=1)
    np.testing.assert_allclose(qb_norm(s, bank)[2:3], qb_norm(s[2:3], bank))
    assert not np.allclose(dual_softmax(s)[2:3], dual_softmax(s[2:3]))  # which makes that one transductive


def test_qb_norm_refuses_a_bank_of_another_gallery() -> None:
    with pytest.raises(UserError, match="same gallery"):
        qb_norm(scores(), scores(videos=4))


def test_sinkhorn_balances_rows_and_columns_and_keeps_the_optimum() -> None:
    s, temperature = scores(), 10.0
    plan = np.exp(temperature * sinkhorn(s, temperature, iterations=500))
    np.testing.assert_allclose(plan.sum(0), 1 / 5, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(1), 1 / 7, rtol=1e-9)
    potential = np.log(plan) - temperature * s  # u_i + v_j: its double differences vanish
    np.testing.assert_allclose(potential - potential[:1] - potential[:, :1] + potential[0, 0], 0, atol=1e-9)


def test_sinkhorn_makes_no_ties_at_high_temperature() -> None:
    assert all(len(np.unique(query)) == 40 for query in sinkhorn(scores(40, 40), 1000.0))


@pytest.mark.parametrize("method", [dual_softmax, choose_temperature])
def test_refuses_unknown_direction(method) -> None:
    with pytest.raises(UserError, match="'t2v' or 'v2t'"):
        method(scores(5, 5), direction="both")
