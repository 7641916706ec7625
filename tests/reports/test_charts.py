"""What the charts draw, read back from the SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np

from eaglenet_jax.metrics.ranks import chance_metrics, rank_metrics
from eaglenet_jax.reports.charts import (
    BOTTOM,
    HEIGHT,
    TOP,
    Series,
    chance_series,
    rank_histogram,
    recall_chart,
    recall_series,
    value_histogram,
)

RANKS = np.array([1.0, 1.5, 2.0, 4.0, 5.5, 12.0, 60.0, 101.0])


def test_recall_at_k_is_what_the_metrics_count() -> None:
    series, metrics = recall_series("run", RANKS), rank_metrics(RANKS)
    for k in (1, 5, 10, 50):
        assert series.values[k - 1] == metrics[f"R@{k}"]
    assert np.all(np.diff(series.values) >= 0)


def test_the_curve_is_drawn_where_the_values_are() -> None:
    svg = ET.fromstring(recall_chart([Series("run", np.array([25.0, 50.0, 100.0]))], "label"))
    points = [float(point.split(",")[1]) for point in svg.find("polyline").get("points").split()]
    full = HEIGHT - TOP - BOTTOM
    np.testing.assert_allclose([(HEIGHT - BOTTOM - y) / full for y in points], [0.25, 0.5, 1.0], atol=1e-3)


def test_the_curve_of_chance_goes_through_its_metrics() -> None:
    chance = chance_metrics((40, 40))["t2v"]
    values = chance_series(chance, 40).values
    assert [values[k - 1] for k in (1, 2, 5, 10, 40)] == [2.5, 5.0, 12.5, 25.0, 100.0]
    several = {"R@1": 5.0, "R@5": 23.7, "R@10": 44.2}
    values = chance_series(several, 10).values
    assert [values[k - 1] for k in (1, 5, 10)] == [5.0, 23.7, 44.2] and np.all(np.diff(values) > 0)
    assert chance_series({"R@1": None}, 10) is None


def test_every_number_is_in_one_bar_of_its_own_series() -> None:
    svg = value_histogram([("near", np.array([1.0, 1.0, 5.0])), ("far", np.array([5.0]))], "|R|₁", "label", bins=4)
    bars = re.findall(r"<title>(.*?): ([\d.]+) % from ([\d.]+) to ([\d.]+)</title>", svg)
    assert [(name, float(share), low) for name, share, low, _ in bars if float(share)] == [
        ("near", 66.7, "1"),
        ("near", 33.3, "4"),
        ("far", 100.0, "4"),
    ]
    assert len(ET.fromstring(svg).findall("rect")) == 8
    value_histogram([("all alike", np.ones(3))], "x", "label")


def test_every_query_is_in_one_bar() -> None:
    svg = rank_histogram([("one & two", RANKS), ("other", RANKS[:4])], "label")
    bars = re.findall(r"<title>(.*?): ([\d.]+) % at rank (.*?)</title>", svg)
    assert sum(float(share) for name, share, _ in bars if name == "one &amp; two") == 100.0
    shares = {rank: float(share) for name, share, rank in bars if name == "other"}
    assert shares == {
        "1": 50.0,
        "2": 25.0,
        "3": 0,
        "4–5": 25,
        "6–10": 0,
        "11–20": 0,
        "21–50": 0,
        "51–100": 0,
        "≥ 101": 0,
    }
    ET.fromstring(svg)
