"""What is said of results in words agrees with their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.metrics.ranks import RetrievalScores, place
from eaglenet_jax.metrics.score_report import MeasureOptions, measure_scores
from eaglenet_jax.metrics.significance import paired_test
from eaglenet_jax.reports.verdicts import opening, verdict


@pytest.mark.parametrize(
    ("found", "chance", "queries", "said"),
    [(56.99999, 0.5, 200, "in 57 of 100 searches; by chance in 0.5."),
     (3.26, 0.1, 1000, "in 3.3 of 100 searches; by chance in 0.1."),
     (0.0, 50.0, 100, "in 0 of 100 searches; by chance in 50."),
     (40.0, 20.0, 5, "in 2 of 5 searches; by chance in 1."),
     (100 / 3, 5.0, 30, "in 10 of 30 searches; by chance in 1.5.")],
)  # fmt: skip
def test_the_first_sentence_has_the_numbers(found, chance, queries, said) -> None:
    summary = {"metrics": {"t2v": {"R@1": found, "queries": queries}}, "chance": {"t2v": {"R@1": chance}}}
    assert opening(summary) == f"The right video comes first {said}"


def test_a_gallery_of_one_has_no_recall_to_speak_of() -> None:
    report = measure_scores(RetrievalScores(np.ones((1, 1))), options=MeasureOptions(resamples=5))
    assert opening(report.summary) == "The gallery has a single video, which every search finds."


def ranked(right: int, of: int = 40) -> np.ndarray:
    """Scores whose first `right` texts find their video."""
    scores = np.eye(of)
    scores[right:] = np.roll(scores[right:], 1, axis=1)
    return scores


def test_a_difference_is_called_one_where_it_is_large() -> None:
    good, bad, similar = (place(ranked(right)) for right in (36, 12, 35))
    said = verdict("A", "B", paired_test(good, bad, resamples=2000))
    assert said.startswith("A is better than B: the right video comes first 60.0 points more often (95 % interval 4")
    assert said.endswith("in fewer than 1 of 1,000 cases.")
    low, high = said.partition("interval ")[2].partition(")")[0].split(" to ")
    said = verdict("B", "A", paired_test(bad, good, resamples=2000))
    assert said.startswith("B is worse than A: the right video comes first 60.0 points less often")
    assert abs(float(said.partition("interval ")[2].split()[0]) - float(low)) < 4 < float(low) < 60 < float(high)
    said = verdict("A", "C", paired_test(good, similar, resamples=2000))
    assert said.startswith("Whether A or C is better is not shown: R@1 differs by +2.5 points")
    assert said.endswith("in 100 of 100 cases.")
    assert verdict("A", "B", {}) == ""
