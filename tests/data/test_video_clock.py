"""The rule by which pictures are sampled by their times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eaglenet_jax.data.video_clock import TICK_SECONDS, next_due


@pytest.mark.parametrize("fps", [1, 3, 0.1, 29.97])
def test_due_is_the_first_step_behind_a_picture(fps: float) -> None:
    steps = np.arange(2000) / fps
    for step, after in itertools.pairwise(steps):
        for rounding in (-TICK_SECONDS / 2, 0, TICK_SECONDS / 2):  # Matroska may store 1 s as 0.9995
            assert next_due(step + rounding, fps) == pytest.approx(after, abs=1e-9)
    for time in np.random.default_rng(0).uniform(0, 60, 500):
        expected = steps[steps > time + TICK_SECONDS][0]
        assert next_due(time, fps) == pytest.approx(expected, abs=1e-9)
