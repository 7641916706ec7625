from __future__ import annotations

import numpy as np

from benchmarks import moving_shapes_oracle as oracle


def test_frames_are_averaged_within_their_events() -> None:
    frames = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, -1.0], [-5.0, 0.0]])
    means = oracle.event_means(frames, np.array([0.0, 0.9, 1.0, 2.5, 2.6]), [1.0, 1.5, 1.5])
    np.testing.assert_allclose(means, [[1, 0], [0, 1], np.array([-1, -1]) / np.sqrt(2)])
    scores = oracle.best_event_scores(np.array([[0.0, 7.0], [-1.0, 0.0]]), [means, means[:1]])
    np.testing.assert_allclose(scores, [[1, 0], [np.sqrt(0.5), -1]], atol=1e-12)
