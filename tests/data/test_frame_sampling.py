from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from eaglenet_jax.data.frame_sampling import frame_indices, frame_times, pick_frames, sampled_frames
from eaglenet_jax.errors import UserError


@pytest.mark.parametrize("fps", [25, 29.97, 23.976, Fraction(30000, 1001), 10, 1])
def test_one_frame_a_second_is_the_first_frame_of_every_integer_second(fps):
    np.testing.assert_array_equal(frame_indices(fps, 200), np.arange(0, 200, int(fps)))


@pytest.mark.parametrize(("fps", "sample_fps"), [(25, 2), (30, 3), (24, 0.5), (25, 0.1), (29.97, 7)])
def test_other_rates_spread_their_frames_evenly_over_every_second(fps, sample_fps):
    indices = frame_indices(fps, 2000, sample_fps)
    exact = np.arange(len(indices)) * int(fps) / sample_fps
    assert np.all((exact - indices < 1 + 1e-6) & (exact - indices > -1e-6))
    assert indices[-1] < 2000 <= indices[-1] + int(fps) / sample_fps + 1


@pytest.mark.parametrize(("fps", "sample_fps"), [(5, 10), (0.4, 1), (3, 3)])
def test_a_source_slower_than_the_sample_rate_keeps_every_frame_once(fps, sample_fps):
    np.testing.assert_array_equal(frame_indices(fps, 20, sample_fps), np.arange(20))


def test_a_stored_frame_stands_where_the_file_shows_it():
    np.testing.assert_allclose(frame_times(4, 2, 25), [0, 12 / 25, 1, 37 / 25])
    np.testing.assert_allclose(frame_times(3, 1, 29.97), [0, 29 / 29.97, 58 / 29.97])
    np.testing.assert_allclose(frame_times(3, 10, 5), [0, 0.2, 0.4])  # a slow file gives every frame once
    np.testing.assert_allclose(frame_times(3, 4), [0, 0.25, 0.5])


def test_a_decoder_can_walk_along_without_knowing_the_length():
    assert list(islice(sampled_frames(29.97), 4)) == [0, 29, 58, 87]


def test_a_video_shorter_than_a_second_gives_its_first_frame_and_an_empty_one_none():
    np.testing.assert_array_equal(frame_indices(25, 3), [0])
    assert frame_indices(25, 0).shape == (0,)


@pytest.mark.parametrize("fps", [0, None, -1, float("nan"), float("inf")])
def test_a_file_without_frame_rate_is_refused(fps):
    with pytest.raises(UserError, match="no usable frame rate"):
        sampled_frames(fps)


@pytest.mark.parametrize("sample_fps", [0, -1, float("nan")])
def test_a_sample_rate_that_is_not_above_zero_is_refused(sample_fps):
    with pytest.raises(UserError, match="above zero"):
        frame_indices(25, 100, sample_fps)


def test_picked_frames_are_a_truncated_linspace_or_all_frames():
    np.testing.assert_array_equal(pick_frames(7, 12), np.arange(7))
    np.testing.assert_array_equal(pick_frames(12, 12), np.arange(12))
    np.testing.assert_array_equal(pick_frames(10, 4), [0, 3, 6, 9])
    np.testing.assert_array_equal(pick_frames(30, 12), [int(v) for v in np.linspace(0, 29, 12)])
    np.testing.assert_array_equal(pick_frames(9, 1), [0])


@pytest.mark.parametrize("count", range(1, 60))
def test_picked_frames_are_distinct_and_span_the_video(count):
    for max_frames in range(2, 20):
        picked = pick_frames(count, max_frames)
        assert len(picked) == min(count, max_frames)
        assert picked[0] == 0 and picked[-1] == count - 1
        assert np.all(np.diff(picked) > 0)


def test_no_frames_cannot_be_picked_from():
    with pytest.raises(ValueError, match="at least one frame"):
        pick_frames(0, 12)
