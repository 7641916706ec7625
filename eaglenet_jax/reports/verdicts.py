"""Plain sentences about results: how often the right video comes first, and whether two systems differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNIFICANT = 0.05  # a difference with a smaller p is one


def opening(summary: Mapping[str, Any]) -> str:
    """Say how often the right video comes first, and how often by chance; without R@1 what the gallery is.

    summary: of a `ScoreReport`.
    """
    found, chance = (summary[name]["t2v"].get("R@1") for name in ("metrics", "chance"))
    if found is None or chance is None:
        return "The gallery has a single video, which every search finds."
    queries = min(100, summary["metrics"]["t2v"]["queries"])  # no more than there were
    first, luck = (_count(value * queries / 100) for value in (found, chance))
    return f"The right video comes first in {first} of {queries} searches; by chance in {luck}."


def verdict(name: str, other: str, difference: Mapping[str, Any]) -> str:
    """Say which of two systems finds the right video first more often, or that this is not shown.

    Args:
        name: Of the system.
        other: Of the one it is compared with.
        difference: Of `paired_test`; that of R@1, text → video, decides.

    Returns:
        A sentence, "" where R@1 was not compared.
    """
    entry = difference.get("t2v", {}).get("R@1")
    if entry is None:
        return ""
    points, low, high, p = (entry[key] for key in ("difference", "low", "high", "p"))
    if p < SIGNIFICANT:
        better, more = ("better", "more") if points > 0 else ("worse", "less")
        low, high = (low, high) if points > 0 else (-high, -low)
        said = f"{name} is {better} than {other}: the right video comes first {abs(points):.1f} points {more} often"
    else:
        change = f"{points:+.1f}".replace("-", "−")
        said = f"Whether {name} or {other} is better is not shown: R@1 differs by {change} points"
    interval = f"(95 % interval {low:.1f} to {high:.1f})".replace("-", "−")
    return f"{said} {interval}. If both were equally good, a difference at least this large would come out {_odds(p)}."


def _count(percent: float) -> str:
    """A number of 100, as whole as it may be."""
    return f"{percent:.0f}" if percent >= 10 or percent == round(percent) else f"{percent:.2g}"


def _odds(p: float) -> str:
    if p < 0.001:
        return "in fewer than 1 of 1,000 cases"
    if p < 0.01:
        return f"in {1000 * p:.0f} of 1,000 cases"
    return f"in {100 * p:.{0 if p >= 0.1 else 1}f} of 100 cases"
