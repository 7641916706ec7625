from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.windows import WindowRule, cut_windows, is_shot_cut


def windows_of(times, rule, length, cuts=()):
    items = [(time, number) for number, time in enumerate(times)]
    return list(cut_windows(items, rule, lambda: length, lambda before, after: after in cuts))


def test_a_short_video_is_one_window():
    (window,) = windows_of([0.0, 1.0, 2.0], WindowRule(12, 4), 3.0)
    assert (window.start, window.end, window.items) == (0.0, 3.0, (0, 1, 2))


def test_long_videos_overlap_by_seconds():
    found = windows_of(np.arange(20.0), WindowRule(8, 3), 20.0)
    assert [(window.start, window.end) for window in found] == [(0, 8), (5, 13), (10, 18), (15, 20)]
    assert [window.items for window in found][:2] == [tuple(range(8)), tuple(range(5, 13))]


def test_a_window_with_nothing_new_is_left_out():
    assert [(w.start, w.end) for w in windows_of(np.arange(8.0), WindowRule(8, 3), 8.0)] == [(0, 8)]
    # The second window would hold 5, 6 and 7 s, all of which are in the first.
    found = windows_of([*range(8), 100], WindowRule(8, 3), 101.0)
    assert [window.items for window in found] == [tuple(range(8)), (8,)]


def test_a_stretch_without_pictures_gives_no_window():
    found = windows_of([0.0, 1.0, 100.0], WindowRule(5, 0), 101.0)
    assert [window.items for window in found] == [(0, 1), (2,)]
    assert found[1].start <= 100 < found[1].end


def test_a_gap_of_a_million_years_is_passed_at_once():
    found = windows_of([0.0, 1.0, 1e12, 1e12 + 1], WindowRule(5, 2), 1e12 + 2)
    assert found[0].items == (0, 1)
    assert {item for window in found for item in window.items} == {0, 1, 2, 3} and len(found) <= 3


@given(gaps=st.lists(st.floats(0.05, 300), min_size=1, max_size=20), seconds=st.floats(1, 20), share=st.floats(0, 0.9))
def test_windows_start_on_one_grid_and_the_first_that_holds_a_picture_is_taken(gaps, seconds, share):
    times, rule = np.cumsum([0.0, *gaps]), WindowRule(seconds, share * seconds)
    found = windows_of(times, rule, times[-1] + 0.5)
    expected = []
    covered = -np.inf
    for number in range(int(times[-1] // rule.step) + 2):
        start = number * rule.step
        items = [int(i) for i in np.flatnonzero((times >= start) & (times < start + rule.seconds))]
        if items and times[items[-1]] >= covered:
            expected.append((start, tuple(items)))
            covered = start + rule.seconds
    assert [(window.start, window.items) for window in found] == expected


def test_windows_end_with_their_shots():
    found = windows_of(np.arange(10.0), WindowRule(4, 0), 10.0, cuts=(3, 9))
    assert [(w.start, w.end) for w in found] == [(0, 3), (3, 7), (7, 9), (9, 10)]


def test_no_video_no_windows():
    assert windows_of([], WindowRule(), 0.0) == []


@given(
    gaps=st.lists(st.floats(0.05, 30), min_size=1, max_size=40),
    seconds=st.floats(1, 20),
    share=st.floats(0, 0.9),
    cuts=st.sets(st.integers(1, 39)),
)
def test_every_picture_is_in_a_window_and_inside_it(gaps, seconds, share, cuts):
    times = np.cumsum([0.0, *gaps[:-1]])
    rule = WindowRule(seconds, share * seconds)
    found = windows_of(times, rule, times[-1] + 0.5, cuts)
    assert {item for window in found for item in window.items} == set(range(len(times)))
    for window in found:
        assert window.end - window.start <= rule.seconds + 1e-6
        assert list(window.times) == [times[item] for item in window.items]
        assert window.start - 1e-6 <= window.times[0] and window.times[-1] <= window.end + 1e-6
    overlaps = [sum(a.start < b.end - 1e-6 and b.start < a.end - 1e-6 for b in found) for a in found]
    assert max(overlaps) <= rule.overlapping + len(cuts)


@pytest.mark.parametrize(("seconds", "overlap"), [(0, 0), (-1, 0), (5, 5), (5, -1), (float("inf"), 1)])
def test_windows_that_never_end_are_refused(seconds, overlap):
    with pytest.raises(UserError):
        WindowRule(seconds, overlap)


def test_cuts_are_seen_and_motion_is_not():
    rng = np.random.default_rng(0)
    first = np.clip(rng.normal((60, 90, 160), 20, (48, 64, 3)), 0, 255).astype(np.uint8)
    other = np.clip(rng.normal((180, 120, 40), 20, (48, 64, 3)), 0, 255).astype(np.uint8)
    assert is_shot_cut(first, other)
    assert not is_shot_cut(first, np.roll(first, 20, axis=1))
