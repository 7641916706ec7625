"""The report of reranking: recalls that can be counted by hand, times that are there."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.scoring.rerank_report import RerankReportOptions, format_rerank_report, rerank_report
from tests.scoring.fake_heads import Cosine, gallery

TEXTS, VIDEOS = gallery(12, 12)
DRAWS = Draws(jax.random.key(2))


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_recalls_of_candidates_rerank_and_full_ranking(direction) -> None:
    """Candidate scores that place the right item of query i at rank i + 1, and a head whose scores are known."""
    first = np.zeros((12, 12))
    for query in range(12):
        first[query, np.r_[(query + 1 + np.arange(query)) % 12]] = 2.0
        first[query, query] = 1.0
    if direction == "v2t":
        first = first.T
    options = RerankReportOptions([3, 12], direction=direction)
    report = rerank_report(first, Cosine(), {}, TEXTS, VIDEOS, draws=DRAWS, options=options)
    scores = np.asarray(Cosine().score(TEXTS, VIDEOS, DRAWS).similarity)
    by_query = scores if direction == "t2v" else scores.T
    right = np.diagonal(scores)[:, None]
    assert report["full"]["R@5"] == pytest.approx(100 * np.mean((by_query > right).sum(1) < 5))
    assert report["candidates"]["R@5"] == pytest.approx(100 * 5 / 12)
    some, all_items = report["rerank"]
    assert some["candidate_recall"] == pytest.approx(100 * 3 / 12) and all_items["candidate_recall"] == 100
    assert some["R@1"] <= some["candidate_recall"]
    assert {name: all_items[name] for name in ("R@1", "R@5", "R@10")} == {
        name: report["full"][name] for name in ("R@1", "R@5", "R@10")
    }
    assert all_items["same_first"] == 100 and some["same_first"] < 100
    for row in (some, all_items):
        assert row["time_saved"] == pytest.approx(100 * (1 - row["seconds"] / report["full"]["seconds"]))
    table = format_rerank_report(report)
    assert f"{direction}, 12 queries × 12 items" in table and "rerank, top 3 " in table and "100.0" in table


def test_mean_pooled_cosine_by_default_and_unequal_counts() -> None:
    videos = jax.tree.map(lambda leaf: leaf[:5], VIDEOS)
    relevance = np.arange(12) % 5
    options = RerankReportOptions([2], relevance, combine="add")
    report = rerank_report(None, Cosine(), {}, TEXTS, videos, draws=DRAWS, options=options)
    assert (report["queries"], report["items"]) == (12, 5)
    assert "added" in format_rerank_report(report)
    with pytest.raises(UserError, match="at least one top_k"):
        rerank_report(None, Cosine(), {}, TEXTS, videos, draws=DRAWS, options=RerankReportOptions([], relevance))


def test_candidates_of_a_video_are_captions_several_of_which_may_be_of_one_video() -> None:
    """Two captions a video; those of one other video are best, so the right ones are second by video, third in all."""
    owner = np.arange(12) // 2
    best = (np.arange(6) + 1) % 6
    first = np.where(owner[:, None] == best, 2.0, np.where(owner[:, None] == np.arange(6), 1.0, 0.0))
    videos = jax.tree.map(lambda leaf: leaf[:6], VIDEOS)
    options = RerankReportOptions([2, 3], owner, direction="v2t")
    report = rerank_report(
        first + 1e-3 * np.arange(12)[:, None], Cosine(), {}, TEXTS, videos, draws=DRAWS, options=options
    )
    assert [row["candidate_recall"] for row in report["rerank"]] == [0.0, 100.0]
    assert all(row["R@1"] <= row["candidate_recall"] for row in report["rerank"])
