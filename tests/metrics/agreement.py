"""Comparison of a report's metrics, which leave out recalls that a small gallery decides alone, with all metrics."""

from __future__ import annotations

from typing import Any


def agrees(found: Any, expected: dict[str, Any]) -> bool:
    """Whether metrics of one direction, or of both, are the expected ones wherever they are there; R@1 has to be."""
    if "t2v" in expected:
        rsum = found["Rsum"] is None or found["Rsum"] == expected["Rsum"]
        return rsum and all(agrees(found[side], expected[side]) for side in ("t2v", "v2t"))
    kept = {name: value for name, value in found.items() if value is not None}
    assert "R@1" in kept and set(found) == set(expected)
    return kept == {name: expected[name] for name in kept}
