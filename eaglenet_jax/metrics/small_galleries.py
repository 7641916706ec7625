"""Recalls that a small gallery decides alone: with K items or fewer, every R@K is 100 whatever the scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eaglenet_jax.metrics.ranks import RECALL_DEPTHS, SUMMED_RECALLS, Metrics


def without_trivial(metrics: Metrics, galleries: Mapping[str, int]) -> Metrics:
    """Replace recalls that are 100 whatever the scores by None, and every Rsum that they are part of.

    Args:
        metrics: As `placement_metrics`, or intervals laid out as these.
        galleries: How many items each direction ranks; with K or fewer, every R@K is 100.

    Returns:
        The metrics of the same directions.
    """
    trivial = {side: [f"R@{k}" for k in RECALL_DEPTHS if k >= size] for side, size in galleries.items()}
    for names in trivial.values():
        names += ["Rsum"] if set(names) & set(SUMMED_RECALLS) else []
    result: Metrics = {
        name: value | {each: None for each in trivial[name] if each in value} if name in trivial else value
        for name, value in metrics.items()
    }
    if "Rsum" in result and any("Rsum" in names for names in trivial.values()):
        result["Rsum"] = None
    return result


def trivial_notes(galleries: Mapping[str, int]) -> Iterator[str]:
    """Say which recalls `without_trivial` leaves out, for galleries of 10 items or fewer.

    In one of 11 to 50 items a page has a dash for R@50 alone, which needs no note.
    """
    smallest = min(galleries.values())
    depths = [f"R@{k}" for k in RECALL_DEPTHS if k >= smallest]
    if smallest <= 10:
        yield (
            f"the gallery has {smallest} {'item' if smallest == 1 else 'items'}: {', '.join(depths)} would be 100 "
            "whatever the scores, and are left out"
        )
