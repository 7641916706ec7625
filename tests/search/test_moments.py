"""Moments: their limits by frames, how they merge, and their page."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.search.html import Found, cards, clock, results_page
from eaglenet_jax.search.moments import Moment, by_cosines, by_weights, merge_overlapping
from eaglenet_jax.search.page.rendering import span
from tests.search.clips import COLORS, write_colours

PICTURE = io.BytesIO()
Image.new("RGB", (64, 48)).save(PICTURE, "JPEG")


def moment(path, start, end, score, **more):
    return Moment(0, score, False, f"{path}{start}", path, start, end, PICTURE.getvalue(), **more)


# Limits -------------------------------------------------------------------------------------------------------------


def test_a_moment_is_where_the_head_looked():
    window = moment("a", 0, 6, 0.9, times=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0), weights=(0.02, 0.3, 0.02, 0.3, 0.3, 0.06))
    found = by_weights(window, 0, 6)
    assert (found.start, found.end) == (0.5, 1.5)  # the first of the heaviest; the others are apart
    heavier = by_weights(moment("a", 0, 6, 0.9, times=window.times, weights=(0.02, 0.2, 0.02, 0.3, 0.4, 0.06)), 0, 6)
    assert (heavier.start, heavier.end) == (2.5, 4.5)
    last = by_weights(moment("a", 0, 6, 0.9, times=window.times, weights=(0, 0, 0, 0, 0.5, 0.5)), 0, 6)
    assert (last.start, last.end) == (3.5, 6)


def test_a_moment_by_cosines_lies_around_the_nearest_frame():
    window = moment("a", 8, 20, 0.9, times=tuple(8.0 + k for k in range(12)))
    cosines = np.full(16, 0.1)
    cosines[3:6] = 0.28, 0.3, 0.27
    found = by_cosines(window, cosines)
    assert (found.start, found.end) == (10.5, 13.5)
    assert by_cosines(moment("a", 0, 9, 0.9, times=(0.0,)), cosines).end == 9


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_a_window_of_equal_frames_is_the_moment(noise):
    window = moment("a", 8, 20, 0.9, times=tuple(8.0 + k for k in range(12)))
    assert by_cosines(window, 0.3 + noise * np.sin(np.arange(12))) == window


def test_moments_are_not_shorter_than_a_second():
    times = tuple(0.1 * k for k in range(12))
    weights = (*[0.0] * 5, 1.0, *[0.0] * 6)
    found = by_weights(moment("a", 0, 1.2, 0.9, times=times, weights=weights), 0, 1.2)
    assert found.end - found.start == pytest.approx(1) and 0 <= found.start < 0.5 < found.end <= 1.2


@pytest.mark.parametrize(("heavy", "limits"), [(0, (3, 4)), (11, (3.2, 4.2)), (1, (3, 4)), (10, (3.2, 4.2))])
def test_a_moment_at_the_edge_of_its_window_lasts_a_second_too(heavy, limits):
    times = tuple(3 + 0.1 * k for k in range(12))
    weights = tuple(float(k == heavy) for k in range(12))
    found = by_weights(moment("a", 3, 4.2, 0.9, times=times, weights=weights), 3, 4.2)
    assert (found.start, found.end) == pytest.approx(limits)
    short = by_weights(moment("a", 3, 3.8, 0.9, times=times[:8], weights=(1.0, *[0.0] * 7)), 3, 3.8)
    assert (short.start, short.end) == (3, 3.8)  # a window of less than a second


# Merging ------------------------------------------------------------------------------------------------------------


def test_overlapping_windows_become_one_moment_of_the_best():
    found = merge_overlapping(
        [moment("a", 8, 20, 0.9), moment("b", 8, 20, 0.8), moment("a", 16, 28, 0.7), moment("a", 0, 12, 0.6)]
    )
    assert [(m.path, m.start, m.end, m.score) for m in found] == [("a", 0, 28, 0.9), ("b", 8, 20, 0.8)]


def test_a_long_video_does_not_become_one_moment():
    ranked = sorted((moment("a", 8.0 * k, 8.0 * k + 12, 1 / (1 + k)) for k in range(9)), key=lambda m: -m.score)
    found = merge_overlapping(ranked)
    assert len(found) >= 3 and max(m.end - m.start for m in found) <= 28


def test_windows_that_only_touch_stay_apart():
    assert len(merge_overlapping([moment("a", 0, 10, 0.9), moment("a", 10, 20, 0.8)])) == 2


@pytest.mark.parametrize("seed", range(20))
def test_no_second_is_listed_twice_and_no_window_is_lost(seed):
    rng = np.random.default_rng(seed)
    starts = rng.permutation(11) * 4.0
    ranked = [moment("a", start, start + rng.uniform(2, 9), -k) for k, start in enumerate(starts)]
    found = merge_overlapping(ranked)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    ordered = sorted(found, key=lambda m: m.start)
    assert all(before.end <= after.start for before, after in itertools.pairwise(ordered))
    # Of every window at least half is in some moment.
    for window in ranked:
        shared = sum(max(0.0, min(m.end, window.end) - max(m.start, window.start)) for m in found)
        assert shared >= (window.end - window.start) / 2 - 1e-9


# Pages of one file --------------------------------------------------------------------------------------------------


def test_clock():
    assert [clock(t) for t in (0, 7.54, 59.96, 600, 3723)] == ["0:00.0", "0:07.5", "1:00.0", "10:00.0", "1:02:03.0"]


def test_names_and_queries_cannot_write_into_the_page():
    evil = '/videos/<img src=x onerror=alert(1)>".mp4'
    page = results_page([Found("<script>alert(2)</script>", [moment(evil, 0, 1, 0.5)])])
    assert "<script" not in page and "<img src=x" not in page and 'onerror=alert(1)>"' not in page


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    file = tmp_path_factory.mktemp("film") / "a b.mp4"
    write_colours(file, COLORS[:3])
    return file


def test_players_start_at_the_moment_and_read_the_file(film):
    page = results_page([Found("a dog", [moment(str(film), 1.0, 2.5, 0.5)])])
    (source,) = re.findall(r'<video[^>]* src="([^"]*)"', page)
    assert source == f"{film.as_uri()}#t=1.00,2.50" and "a%20b.mp4" in source


def test_what_browsers_do_not_play_is_shown_by_its_frames(film):
    other = film.with_suffix(".avi")
    other.write_bytes(film.read_bytes())
    page = results_page([Found("a dog", [moment(str(other), 0.0, 2.5, 0.5, times=(0.5, 1.5))])])
    assert "<video" not in page and "do not play" in page and page.count('class="tile"') == 2
    assert "data:image/webp;base64" in page
    gone = results_page([Found("a dog", [moment("/v/gone.mp4", 0.0, 2.5, 0.5, times=(0.5, 1.5))])])
    assert "not there" in gone and "<video" not in gone


def test_weights_stand_over_their_frames(film):
    found = moment(str(film), 0, 2, 0.5, times=(0.5, 1.5), weights=(0.25, 0.75))
    shown = cards([found])
    assert re.findall(r'<svg class="weight"[^>]*><rect[^>]* height="([\d.]+)%"', shown) == ["33.33", "100.00"]
    assert re.findall(r'class="tile" viewBox="(\d+) 0 (\d+) ', shown) == [("0", "64"), ("64", "64")]
    assert "25 %" in shown and "75 %" in shown


def test_a_page_says_what_it_knows(film):
    weak = moment(str(film), 0, 2, 0.5, confidence="weak")
    page = results_page([Found("without a dog", [weak], str(film))], is_demo=True)
    assert "Nothing clearly fits" in page and "without” is not understood" in page and "Demo model" in page
    assert "the clip that was described" in page and "Weak match" in page
    plain = results_page([Found("a dog", [moment(str(film), 0, 2, 0.5, confidence="strong")])])
    assert not any(said in plain for said in ("Nothing clearly fits", "understood", "Demo model", "that was described"))


def test_an_empty_index_says_so():
    assert "empty" in cards([])


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [(7, 12, "0:07–0:12"), (2.9, 4.2, "0:02–0:04"), (0.2, 0.4, "0:00–0:01"), (59.6, 60.6, "0:59–1:01")],
)
def test_intervals_in_whole_seconds_do_not_reach_past_a_clip(start, end, said):
    assert span(start, end) == said
