"""Merging of moments and their pages."""

from __future__ import annotations

import re

from eaglenet_jax.search.html import cards, clock, results_page
from eaglenet_jax.search.query import Moment, merge_overlapping


def moment(path, start, end, score, **more):
    return Moment(0, score, False, f"{path}{start}", path, start, end, b"jpeg", **more)


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


def test_every_window_is_in_exactly_one_moment():
    ranked = [moment("a", 4.0 * ((7 * k) % 11), 4.0 * ((7 * k) % 11) + 9, -k) for k in range(11)]
    found = merge_overlapping(ranked)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    assert all(any(m.start <= w.start and w.end <= m.end for m in found) for w in ranked)


def test_clock():
    assert [clock(t) for t in (0, 7.54, 59.96, 600, 3723)] == ["0:00.0", "0:07.5", "1:00.0", "10:00.0", "1:02:03.0"]


def test_names_and_queries_cannot_write_into_the_page():
    evil = '/videos/<img src=x onerror=alert(1)>".mp4'
    page = results_page([("<script>alert(2)</script>", [moment(evil, 0, 1, 0.5)])])
    assert "<script" not in page and "<img" not in page and 'onerror=alert(1)>"' not in page


def test_players_start_at_the_moment_and_read_the_file():
    page = results_page([("a dog", [moment("/videos/a b.mp4", 12.0, 24.5, 0.5)])])
    (source,) = re.findall(r'<video[^>]* src="([^"]*)"', page)
    assert source == "file:" + "///videos/a%20b.mp4#t=12.00,24.50"


def test_weights_stand_under_their_frames():
    found = moment("/v/a.mp4", 0, 2, 0.5, times=(0.0, 1.0), weights=(0.25, 0.75))
    shown = cards([found], lambda m: "/video", lambda m, number: f"/frame/{number}")
    assert re.findall(r"height:(\d+)%", shown) == ["33", "100"]
    assert re.findall(r'src="(/frame/\d)"', shown) == ["/frame/0", "/frame/1"]
    assert "25%" in shown and "75%" in shown


def test_an_empty_index_says_so():
    assert "empty" in cards([], lambda m: "")
