"""Pointing accuracy: how much of a head's frame weight falls on the part of the video that the caption describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

CLOCK_TICK = 1e-3  # seconds; intervals are stored in single precision


def frames_inside(times: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Find the frames inside an interval, start ≤ time < end.

    Args:
        times: [N, M], of the frames in seconds; NaN for padding, which is never inside.
        intervals: [N, 2], start and end in seconds; NaN where the interval is not known, so that no frame is inside.

    Returns:
        [N, M] bool.
    """
    times = np.asarray(times, np.float64) + CLOCK_TICK
    start, end = np.asarray(intervals, np.float64)[:, :1], np.asarray(intervals, np.float64)[:, 1:]
    return (start <= times) & (times < end)  # a comparison with NaN is false


def pointing_metrics(weights: np.ndarray | None, times: np.ndarray, intervals: np.ndarray) -> dict[str, Any]:
    """Compute the pointing accuracy of captions with their own videos.

    Captions count if their interval is known and holds at least one frame.

    Args:
        weights: [N, M], of the frames of each caption's video, not negative; only their ratios over real frames count.
            None: the head weighs no frames.
        times: [N, M], of the frames in seconds; NaN for padding.
        intervals: [N, 2], start and end in seconds; NaN where they are not known.

    Returns:
        "pointing", the share of the weight on frames inside the interval, mean over captions in percent, absent without
        weights; "pointing_chance", the share of frames inside; "pointing_captions", how many captions count. Empty if
        none does.
    """
    inside, real = frames_inside(times, intervals), np.isfinite(times)
    counted = inside.any(axis=1)
    if not counted.any():
        return {}
    found: dict[str, Any] = {}
    if weights is not None:
        weights = np.where(real, np.asarray(weights, np.float64), 0)[counted]
        on_part, total = np.sum(weights, axis=1, where=inside[counted]), np.sum(weights, axis=1)
        found["pointing"] = 100.0 * float(np.mean(on_part / np.where(total > 0, total, 1)))
    chance = np.sum(inside[counted], axis=1) / np.sum(real[counted], axis=1)
    return {**found, "pointing_chance": 100.0 * float(np.mean(chance)), "pointing_captions": int(counted.sum())}


def with_pointing_chance(chance: dict[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the metrics of random scores the pointing accuracy of equal weights, if these metrics contain it.

    Args:
        chance: As of `chance_metrics`.
        metrics: Of the system, {"t2v": …, …}.

    Returns:
        `chance` with "pointing" in "t2v".
    """
    if "pointing_chance" not in metrics["t2v"]:
        return chance
    return {**chance, "t2v": {**chance["t2v"], "pointing": metrics["t2v"]["pointing_chance"]}}
