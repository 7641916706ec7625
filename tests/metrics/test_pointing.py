"""Pointing accuracy against a loop over captions and frames."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.metrics.pointing import frames_inside, pointing_metrics, with_pointing_chance
from eaglenet_jax.metrics.ranks import chance_metrics


def made(seed: int, captions: int = 40, frames: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, times and intervals; some videos are short, some intervals unknown or between two frames."""
    rng = np.random.default_rng(seed)
    real = rng.integers(1, frames + 1, captions)
    times = np.where(np.arange(frames) < real[:, None], np.arange(frames) / 3 + 0.1, np.nan)
    start = rng.uniform(0, 2, captions)
    intervals = np.stack([start, start + rng.uniform(0.05, 1.5, captions)], axis=1).astype(np.float32)
    intervals[rng.random(captions) < 0.2] = np.nan
    return rng.random((captions, frames)), times, intervals


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_share_of_weight_inside(seed: int) -> None:
    weights, times, intervals = made(seed)
    shares, chances = [], []
    for row in range(len(weights)):
        start, end = map(float, intervals[row])
        real = [m for m in range(7) if not np.isnan(times[row, m])]
        inside = [m for m in real if start <= times[row, m] < end]
        if inside:  # never for an unknown interval
            shares.append(sum(weights[row, m] for m in inside) / sum(weights[row, m] for m in real))
            chances.append(len(inside) / len(real))
    assert 0 < len(shares) < len(weights)
    found = pointing_metrics(weights, times, intervals)
    assert found["pointing"] == pytest.approx(100 * np.mean(shares))
    assert found["pointing_chance"] == pytest.approx(100 * np.mean(chances))
    assert found["pointing_captions"] == len(shares)


def test_equal_weights_are_at_chance_and_padding_never_counts() -> None:
    weights, times, intervals = made(3)
    found = pointing_metrics(np.ones_like(weights), times, intervals)
    assert found["pointing"] == pytest.approx(found["pointing_chance"])
    padded = np.where(np.isnan(times), 1e6, weights)
    assert pointing_metrics(padded, times, intervals) == pointing_metrics(weights, times, intervals)


def test_the_order_of_captions_and_frames_is_free_and_other_weights_move_it() -> None:
    weights, times, intervals = made(4)
    found = pointing_metrics(weights, times, intervals)
    rng = np.random.default_rng(0)
    captions, frames = rng.permutation(len(weights)), rng.permutation(7)
    moved = [each[captions][:, frames] for each in (weights, times)]
    assert pointing_metrics(*moved, intervals[captions]) == pytest.approx(found)
    inside = frames_inside(times, intervals)
    assert pointing_metrics(inside.astype(float), times, intervals)["pointing"] == pytest.approx(100)
    assert pointing_metrics(1.0 - inside, times, intervals)["pointing"] < 1e-9  # 0, also where nothing is left


def test_an_event_owns_the_frame_at_its_cut() -> None:
    times = np.arange(6)[None] / 3  # 2 / 3 rounds up in single precision, 1 / 3 too
    for first, last in ((0, 2), (2, 4), (4, 6)):
        (inside,) = frames_inside(times, np.array([[first / 3, last / 3]], np.float32))
        assert np.flatnonzero(inside).tolist() == list(range(first, last))


def test_without_intervals_there_is_nothing_and_without_weights_only_chance() -> None:
    weights, times, intervals = made(5)
    assert pointing_metrics(weights, times, np.full_like(intervals, np.nan)) == {}
    found = pointing_metrics(None, times, intervals)
    assert set(found) == {"pointing_chance", "pointing_captions"}
    chance = chance_metrics((4, 4))
    with_it = with_pointing_chance(chance, {"t2v": found})
    assert with_it["t2v"]["pointing"] == found["pointing_chance"] and "pointing" not in chance["t2v"]
    assert with_pointing_chance(chance, {"t2v": {}}) == chance
