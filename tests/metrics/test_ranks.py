"""Metrics against recorded numbers of the released programs and against a brute-force reference."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics import ranks as metrics_module
from eaglenet_jax.metrics.ranks import (
    best_in_order,
    best_items,
    chance_metrics,
    metrics_by_tie_rule,
    place,
    rank_metrics,
    retrieval_metrics,
)

NAMES = ("R@1", "R@5", "R@10", "MdR", "MnR")


def listed(one_direction: dict) -> list[float]:
    return [one_direction[name] for name in NAMES]


def brute_force_rank(right: float, rivals: list[float], ties: str) -> float:
    """Mean, best or worst position of the right item over the orders that its ties allow, by sorting."""
    scores = sorted([*rivals, right], reverse=True)
    positions = [i + 1 for i, score in enumerate(scores) if score == right]
    return {"optimistic": positions[0], "pessimistic": positions[-1], "mean": sum(positions) / len(positions)}[ties]


def brute_force(scores: np.ndarray, text_video: np.ndarray, ties: str, v2t_among: str) -> tuple[list, list]:
    t2v = []
    for row, video in zip(scores.tolist(), text_video, strict=True):
        right = row.pop(video)
        t2v.append(brute_force_rank(right, row, ties))
    v2t = []
    for video in sorted(set(text_video.tolist())):
        captions_of: dict[int, list[float]] = {}
        for text, owner in enumerate(text_video.tolist()):
            captions_of.setdefault(owner, []).append(float(scores[text, video]))
        right = max(captions_of.pop(video))
        others = captions_of.values()
        rivals = [max(c) for c in others] if v2t_among == "videos" else [s for c in others for s in c]
        v2t.append(brute_force_rank(right, rivals, ties))
    return t2v, v2t


@pytest.fixture
def recorded(golden) -> dict[str, np.ndarray]:
    return golden("metrics")


def test_single_caption_equals_the_released_numbers(recorded) -> None:
    result = retrieval_metrics(recorded["single/sims"])
    np.testing.assert_allclose(listed(result["t2v"]), recorded["single/t2v"], rtol=1e-6)
    np.testing.assert_allclose(listed(result["v2t"]), recorded["single/v2t"], rtol=1e-6)


def released_metrics(scores: np.ndarray) -> list[float]:
    """Ranks as the released programs find them: where the sorted row equals the diagonal, however often that is."""
    positions = np.nonzero(np.sort(-scores, axis=1) == np.diag(-scores)[:, None])[1]
    recalls = [100.0 * np.mean(positions < k) for k in (1, 5, 10)]
    return [*recalls, np.median(positions) + 1, np.mean(positions) + 1]


def test_the_released_tie_rule_counts_a_query_once_for_every_tie() -> None:
    scores = np.random.default_rng(0).integers(0, 4, size=(30, 30)).astype(float)
    found, ours = retrieval_metrics(scores, ties="released"), retrieval_metrics(scores)
    np.testing.assert_allclose(listed(found["t2v"]), released_metrics(scores), rtol=1e-12)
    np.testing.assert_allclose(listed(found["v2t"]), released_metrics(scores.T), rtol=1e-12)
    assert found["t2v"]["queries"] > 30 == ours["t2v"]["queries"]
    assert abs(found["t2v"]["R@1"] - ours["t2v"]["R@1"]) > 0.1
    without = scores + np.random.default_rng(1).random((30, 30)) * 1e-3
    assert retrieval_metrics(without, ties="released") == retrieval_metrics(without)


def test_several_captions_equal_the_released_numbers(recorded) -> None:
    text_video = np.repeat(np.arange(40), recorded["multi/captions_per_video"])
    result = retrieval_metrics(recorded["multi/sims"], text_video)
    np.testing.assert_allclose(listed(result["t2v"]), recorded["multi/t2v"], rtol=1e-6)
    np.testing.assert_allclose(listed(result["v2t"]), recorded["multi/v2t"], rtol=1e-6)


def test_videos_ranked_among_all_captions_stand_no_higher(recorded) -> None:
    text_video = np.repeat(np.arange(40), recorded["multi/captions_per_video"])
    among_videos = place(recorded["multi/sims"], text_video).v2t
    among_captions = place(recorded["multi/sims"], text_video, v2t_among="captions").v2t
    assert np.all(among_captions.greater >= among_videos.greater)
    assert np.array_equal(among_captions.greater == 0, among_videos.greater == 0)
    assert np.mean(among_captions.ranks()) == pytest.approx(3.075)


@pytest.mark.parametrize("chunk", [1, 13, 1 << 22])
def test_agrees_with_brute_force_on_random_matrices_with_ties(chunk, monkeypatch) -> None:
    monkeypatch.setattr(metrics_module, "CHUNK_ELEMENTS", chunk)
    rng = np.random.default_rng(chunk)
    for trial in range(350):
        texts, videos = rng.integers(1, 9, 2)
        scores = rng.integers(0, rng.integers(1, 12), (texts, videos)) / 4.0  # few levels: many ties
        text_video = rng.integers(0, videos, texts)  # unsorted, some videos without a caption
        among = ("videos", "captions")[trial % 2]
        placement = place(scores.astype(np.float32), text_video, v2t_among=among)
        for ties in ("optimistic", "mean", "pessimistic"):
            t2v, v2t = brute_force(scores, text_video, ties, among)
            assert placement.t2v.ranks(ties).tolist() == t2v
            assert placement.v2t.ranks(ties).tolist() == v2t
        result = retrieval_metrics(scores, text_video, "optimistic", v2t_among=among)
        t2v, v2t = brute_force(scores, text_video, "optimistic", among)
        for side, expected in ((result["t2v"], t2v), (result["v2t"], v2t)):
            for k in (1, 5, 10, 50):
                assert side[f"R@{k}"] == pytest.approx(100 * sum(r <= k for r in expected) / len(expected))
            assert side["Rsum"] == pytest.approx(sum(side[f"R@{k}"] for k in (1, 5, 10)))
            assert side["MdR"] == np.median(expected)
            assert side["MnR"] == pytest.approx(sum(expected) / len(expected))
            assert side["MRR"] == pytest.approx(100 * sum(1 / r for r in expected) / len(expected))
            assert side["queries"] == len(expected)


def test_a_known_matrix_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.9], [0.2, 0.3, 0.1], [0.5, 0.6, 0.4]])
    result = retrieval_metrics(scores)
    assert place(scores).t2v.ranks().tolist() == [1.5, 1.0, 3.0]
    assert place(scores).v2t.ranks().tolist() == [1.0, 2.0, 2.0]
    assert result["t2v"]["R@1"] == pytest.approx(200 / 3)  # one tie for the first place is a hit at 1 by the mean rule
    assert retrieval_metrics(scores, ties="pessimistic")["t2v"]["R@1"] == pytest.approx(100 / 3)
    assert result["t2v"]["Rsum"] == pytest.approx(200 / 3 + 200) and result["v2t"]["Rsum"] == pytest.approx(
        100 / 3 + 200
    )
    assert result["Rsum"] == pytest.approx(200 / 3 + 100 / 3 + 4 * 100)


def test_equal_scores_of_everything_are_in_the_middle_not_at_the_top() -> None:
    result = retrieval_metrics(np.zeros((100, 100)))
    assert result["t2v"]["MnR"] == result["v2t"]["MnR"] == 50.5
    assert result["t2v"]["R@10"] == 0.0


def test_permuting_queries_and_gallery_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    scores, text_video = rng.normal(size=(30, 11)), rng.integers(0, 11, 30)
    rows, columns = rng.permutation(30), rng.permutation(11)
    place_of = np.argsort(columns)
    permuted = retrieval_metrics(scores[rows][:, columns], place_of[text_video[rows]])
    original = retrieval_metrics(scores, text_video)
    assert permuted["t2v"] == pytest.approx(original["t2v"]) and permuted["v2t"] == pytest.approx(original["v2t"])


def test_video_without_caption_is_a_distractor_but_no_query() -> None:
    scores = np.array([[0.5, 0.1, 0.9], [0.1, 0.5, 0.2]])
    result = retrieval_metrics(scores, np.array([0, 1]))
    assert result["t2v"]["MnR"] == 1.5
    assert result["v2t"]["queries"] == 2 and result["v2t"]["MnR"] == 1.0


def test_all_three_tie_rules_are_shown_only_when_there_are_ties() -> None:
    assert list(metrics_by_tie_rule(place(np.arange(9.0).reshape(3, 3)))) == ["mean"]
    tied = metrics_by_tie_rule(place(np.zeros((3, 3))))
    assert [tied[rule]["t2v"]["MnR"] for rule in tied] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_non_finite_scores_and_says_where(bad) -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    scores[3, 2] = bad
    with pytest.raises(UserError, match="text 3 and video 2"):
        retrieval_metrics(scores, np.array([3, 2, 1, 0, 0]))


@pytest.mark.parametrize(
    ("scores", "text_video", "message"),
    [
        (np.zeros((3, 2)), None, "not square"),
        (np.zeros((3, 2)), np.array([0, 1]), "one integer for each of the 3 rows"),
        (np.zeros((3, 2)), np.array([0.0, 1.0, 1.0]), "one integer for each"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), "text 2 belongs to video 2"),
        (np.zeros((3, 2)), np.array([0, -1, 1]), "text 1 belongs to video -1"),
        (np.zeros(3), None, "expected a non-empty matrix"),
        (np.zeros((0, 0)), None, "expected a non-empty matrix"),
        (np.zeros((2, 2), complex), None, "real numbers"),
        (np.array([["a", "b"], ["c", "d"]]), None, "real numbers"),
    ],
)
def test_refuses_input_that_does_not_fit(scores, text_video, message) -> None:
    with pytest.raises(UserError, match=message):
        retrieval_metrics(scores, text_video)


def test_refuses_unknown_rules() -> None:
    with pytest.raises(UserError, match="optimistic, mean, pessimistic"):
        retrieval_metrics(np.eye(2), ties="lucky")
    with pytest.raises(UserError, match="'videos' or 'captions'"):
        retrieval_metrics(np.eye(2), v2t_among="groups")


def test_recall_counts_the_items_before() -> None:
    assert rank_metrics(np.array([1.0, 1.5, 2.0, 6.0]))["R@1"] == 50.0


def test_lost_videos_are_misses_in_the_last_place() -> None:
    """Two of ten videos are lost, with three captions: 8 + 3 text queries and 8 + 2 video queries."""
    scores = np.eye(8)
    whole = place(scores)
    found = metrics_module.placement_metrics(metrics_module.with_misses(whole, scores.shape, (3, 2)))
    assert found["t2v"]["R@1"] == pytest.approx(100 * 8 / 11) and found["v2t"]["R@1"] == pytest.approx(80.0)
    assert found["t2v"]["MnR"] == pytest.approx((8 + 3 * 10) / 11) and found["t2v"]["queries"] == 11
    assert metrics_module.placement_metrics(whole)["t2v"]["R@1"] == 100.0
    assert metrics_module.with_misses(whole, scores.shape, (0, 0)) is whole


@pytest.mark.parametrize("among", ["videos", "captions"])
def test_misses_are_as_if_the_lost_videos_had_the_lowest_scores(among: str) -> None:
    """A gallery with videos that have no caption, before two others and their three captions are lost from it."""
    rng = np.random.default_rng(3)
    text_video = np.array([0, 0, 2, 3, 3, 3])
    scores = rng.normal(size=(6, 5))
    whole = np.full((9, 7), -50.0)  # below all that was scored, above the right pairs of what is lost
    whole[:6, :5] = scores
    of_lost = np.array([5, 5, 6])
    whole[6 + np.arange(3), of_lost] = -100.0
    expected = place(whole, np.concatenate([text_video, of_lost]), v2t_among=among)
    scored = place(scores, text_video, v2t_among=among)
    found = metrics_module.with_misses(scored, scores.shape, (3, 2), among)
    for side in ("t2v", "v2t"):
        assert getattr(found, side).ranks().tolist() == getattr(expected, side).ranks().tolist()


def test_best_items_of_random_scores_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scores = rng.integers(0, 4, rng.integers(1, 9))
        count = int(rng.integers(1, len(scores) + 1))
        expected = np.lexsort((np.arange(len(scores)), -scores))[:count]
        assert sorted(best_items(scores, count)) == sorted(expected)
        assert best_in_order(scores, count) == list(expected)
    assert best_in_order(np.array([1.0, 3.0]), 5) == [1, 0]


@pytest.mark.parametrize("captions", [[1] * 12, [3] * 8, [1, 5, 2, 2, 9, 0, 1, 3]])
def test_chance_is_the_mean_over_random_scores(captions) -> None:
    text_video = np.repeat(np.arange(len(captions)), captions)
    shape = len(text_video), len(captions)
    rng = np.random.default_rng(0)
    runs = [retrieval_metrics(rng.normal(size=shape), text_video) for _ in range(2000)]
    chance = chance_metrics(shape, text_video)
    for side in ("t2v", "v2t"):
        for name in ("R@1", "R@5", "R@10", "MnR", "MRR"):
            assert chance[side][name] == pytest.approx(np.mean([run[side][name] for run in runs]), rel=0.08), name
        assert chance[side]["queries"] == runs[0][side]["queries"]
