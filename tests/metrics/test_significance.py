"""Intervals and tests: against plain resampling, and by how often they are right in a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import Placement, RetrievalPlacement, place, placement_metrics
from eaglenet_jax.metrics.significance import metric_intervals, paired_test, weighted_median


def simulated(rng: np.random.Generator, videos: int, captions: int, skill: float) -> RetrievalPlacement:
    """Ranks whose hit chance varies by video, so captions of a video go together."""
    chance = np.clip(skill + rng.uniform(-0.4, 0.4, videos), 0, 1)
    text_video = np.repeat(np.arange(videos), captions)

    def side(p: np.ndarray) -> Placement:
        greater = np.where(rng.uniform(size=len(p)) < p, 0, rng.integers(1, 60, len(p)))
        return Placement(greater, np.zeros(len(p), int))

    return RetrievalPlacement(side(chance[text_video]), side(chance), text_video, np.arange(videos))


def test_weighted_median_is_the_median_of_the_repeated_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.sort(rng.integers(0, 5, rng.integers(1, 7)).astype(float))
        weight = rng.integers(0, 4, len(values))
        weight[rng.integers(len(values))] += 1
        assert weighted_median(values, weight) == np.median(np.repeat(values, weight))


def test_intervals_equal_plain_resampling_of_queries() -> None:
    placement = place(np.random.default_rng(0).normal(size=(90, 90)) + 1.2 * np.eye(90))
    result = metric_intervals(placement, resamples=300, seed=5)
    rng = np.random.default_rng(5)
    samples = []
    for _ in range(300):
        rows = rng.integers(0, 90, 90)
        t2v, v2t = (Placement(p.greater[rows], p.tied[rows]) for p in (placement.t2v, placement.v2t))
        samples.append(RetrievalPlacement(t2v, v2t, rows, rows))
    metrics = [placement_metrics(sample) for sample in samples]
    for side in ("t2v", "v2t"):
        for name in ("R@1", "R@10", "R@50", "Rsum", "MdR", "MnR", "MRR"):
            expected = np.percentile([m[side][name] for m in metrics], [2.5, 97.5])
            assert result[side][name] == pytest.approx(tuple(expected))
    assert result["Rsum"] == pytest.approx(tuple(np.percentile([m["Rsum"] for m in metrics], [2.5, 97.5])))


def tail(hits: int, trials: int, share: float) -> float:
    """The probability of `hits` or more of `trials`, each a hit with probability `share`."""
    return sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits, trials + 1))


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (1, 30), (28, 30)])
def test_a_recall_of_few_hits_or_misses_has_the_exact_interval(hits, trials) -> None:
    """Each bound is the share at which as few or as many hits have a probability of 2.5 %."""
    greater = np.where(np.arange(trials) < hits, 0, 50)
    side = Placement(greater, np.zeros(trials, int))
    result = metric_intervals(RetrievalPlacement(side, side, np.arange(trials), np.arange(trials)), resamples=20)
    low, high = (bound / 100 for bound in result["t2v"]["R@1"])
    assert (low == 0) if hits == 0 else tail(hits, trials, low) == pytest.approx(0.025)
    assert (high == 1) if hits == trials else 1 - tail(hits + 1, trials, high) == pytest.approx(0.025)
    if (hits, trials) == (0, 5):
        assert (low, round(high, 3)) == (0, 0.522)
    assert result["Rsum"] == pytest.approx((600 * low, 600 * high))
    assert result["t2v"]["Rsum"] == pytest.approx((300 * low, 300 * high))


@pytest.mark.parametrize("captions", [1, 8])
def test_intervals_cover_the_truth_about_as_often_as_they_say(captions) -> None:
    rng = np.random.default_rng(captions)
    covered = {"t2v": 0, "v2t": 0}
    for trial in range(100):
        intervals = metric_intervals(simulated(rng, 150, captions, 0.5), resamples=120, seed=trial)
        for side in covered:
            low, high = intervals[side]["R@1"]
            covered[side] += low <= 50.0 <= high
    assert all(87 <= count <= 99 for count in covered.values()), covered


def test_paired_test_finds_a_real_difference_and_its_size() -> None:
    rng = np.random.default_rng(0)
    result = paired_test(simulated(rng, 400, 2, 0.6), simulated(rng, 400, 2, 0.4), resamples=2000)
    entry = result["t2v"]["R@1"]
    assert entry["p"] < 0.01 and entry["low"] < entry["difference"] < entry["high"]
    assert entry["low"] > 0 and entry["low"] < 20 < entry["high"]
    assert result["t2v"]["MnR"]["difference"] < 0
    assert result["Rsum"]["p"] < 0.01


def test_paired_test_differences_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    a, b = simulated(rng, 50, 3, 0.6), simulated(rng, 50, 3, 0.5)
    result, first, second = paired_test(a, b, resamples=10), placement_metrics(a), placement_metrics(b)
    for side in ("t2v", "v2t"):
        for name, entry in result[side].items():
            assert entry["difference"] == pytest.approx(first[side][name] - second[side][name])
    assert result["Rsum"]["difference"] == pytest.approx(first["Rsum"] - second["Rsum"])


def test_p_values_of_equal_runs_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p = []
    for trial in range(200):
        a, b = simulated(rng, 100, 3, 0.5), simulated(rng, 100, 3, 0.5)
        p.append(paired_test(a, b, resamples=200, seed=trial)["t2v"]["MnR"]["p"])
    assert 1 <= np.sum(np.array(p) < 0.05) <= 22
    assert 0.4 < np.mean(p) < 0.6


def test_a_run_against_itself_is_no_difference() -> None:
    placement = simulated(np.random.default_rng(0), 30, 2, 0.5)
    entry = paired_test(placement, placement, resamples=50)["v2t"]["R@5"]
    assert entry == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_seeds_are_averaged_by_query() -> None:
    rng = np.random.default_rng(0)
    runs = [simulated(rng, 100, 2, skill) for skill in (0.6, 0.5, 0.55)]
    others = [simulated(rng, 100, 2, 0.5) for _ in runs]
    together = paired_test(runs, others, resamples=500)
    alone = [paired_test(run, other, resamples=500) for run, other in zip(runs, others, strict=True)]
    for side, name in (("t2v", "R@1"), ("v2t", "MnR")):
        entries = [each[side][name] for each in alone]
        entry = together[side][name]
        assert entry["difference"] == pytest.approx(np.mean([each["difference"] for each in entries]))
        # An average over seeds varies less from query to query than one seed.
        assert entry["high"] - entry["low"] < np.mean([each["high"] - each["low"] for each in entries])
    assert paired_test(runs[:1], others[:1], resamples=500) == alone[0]
    with pytest.raises(UserError, match="3 runs and 2 of the other system"):
        paired_test(runs, others[:2])


def test_paired_test_refuses_other_queries() -> None:
    with pytest.raises(UserError, match="different queries"):
        paired_test(place(np.eye(3)), place(np.eye(4)))
