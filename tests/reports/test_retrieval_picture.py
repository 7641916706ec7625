"""The picture of results: what it shows is what the scores say, and it can be drawn from any frames and captions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.retrieval_drawing import (
    BORDER,
    NARROW,
    NARROW_MARGIN,
    PART,
    RIGHT,
    WEIGHT,
    Strip,
    draw_retrieval,
    narrow_image,
)
from eaglenet_jax.reports.retrieval_picture import Clips, FoundVideo, QueryResult, query_results

LEGEND = 180  # pixels at the top that explain the colours


def frames(shade: int, count: int = 6, height: int = 48, width: int = 48) -> np.ndarray:
    return np.full((count, height, width, 3), shade, np.uint8)


def shade(video: FoundVideo) -> int:
    return int(video.frames[0, 0, 0, 0])


def test_results_are_the_own_video_and_the_best_others_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, text_video = rng.normal(size=(30, 20)), rng.integers(0, 20, 30)
    asked: list[int] = []
    weighed: list[tuple[int, list[int]]] = []

    def frames_of(video: int) -> np.ndarray:
        asked.append(video)
        return frames(video)

    def weights_of(text: int, videos: list[int]) -> list[np.ndarray]:
        weighed.append((text, videos))
        return [np.full(6, video) for video in videos]

    clips = Clips(frames_of, weights_of, lambda text: np.arange(6) < text)
    captions = [f"caption {i}" for i in range(30)]
    results = query_results(scores, captions, clips, text_video=text_video, queries=4, others=3)
    assert [result.caption for result in results] == ["caption 0", "caption 9", "caption 19", "caption 29"]
    assert len(asked) == 16 and [text for text, _ in weighed] == [0, 9, 19, 29]
    for text, result in zip((0, 9, 19, 29), results, strict=True):
        order, own = np.argsort(-scores[text]).tolist(), int(text_video[text])
        others = [video for video in order if video != own][:3]
        assert [shade(video) for video in (result.own, *result.others)] == [own, *others]
        for video in (result.own, *result.others):
            assert video.rank == 1 + order.index(shade(video)) and video.score == scores[text, shade(video)]
            assert video.weights is not None and set(video.weights) == {shade(video)}
        assert result.videos == 20 and result.described is not None and result.described.sum() == min(text, 6)


def test_tied_videos_stand_in_the_order_of_the_gallery_and_nothing_need_be_known() -> None:
    (result,) = query_results(
        np.zeros((1, 7)), ["x"], Clips(frames), text_video=np.array([3]), queries=1
    )  # a video's shade is its column
    assert result.own.rank == 4 and [(shade(video), video.rank) for video in result.others] == [(0, 1), (1, 2), (2, 3)]
    assert result.own.weights is None and result.described is None


def test_a_long_video_is_drawn_in_twelve_parts_that_keep_its_weight() -> None:
    weights, described = np.arange(30.0), np.arange(30) == 13
    video = FoundVideo(np.arange(30, dtype=np.uint8)[:, None, None, None].repeat(3, -1), 1.0, 1, weights)
    strip = Strip.of(video, described)
    assert len(strip.pictures) == 12 and strip.weights is not None and strip.weights.sum() == weights.sum()
    assert all(a[0, 0, 0] < b[0, 0, 0] for a, b in zip(strip.pictures, strip.pictures[1:], strict=False))
    first, last = strip.part or (-1, -1)
    assert first == last and strip.weights[first] == 12 + 13 + 14  # six parts of three frames, then six of two


def drawn(path: Path, queries: list[QueryResult]) -> np.ndarray:
    draw_retrieval(path, queries)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def coloured(page: np.ndarray, colour: str) -> np.ndarray:
    return (page[LEGEND:] == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1)


def query(**changes: object) -> QueryResult:
    others = [FoundVideo(frames(200), 0.5, rank) for rank in (2, 3, 4)]
    return dataclasses.replace(QueryResult("a red circle", FoundVideo(frames(200), 1.0, 1), others, 9), **changes)


def test_only_the_own_video_has_a_green_border_and_a_tick_if_it_is_first(tmp_path: Path) -> None:
    first = coloured(drawn(tmp_path / "a.png", [query()]), RIGHT)
    second = coloured(drawn(tmp_path / "a.png", [query(own=FoundVideo(frames(200), 0.2, 2))]), RIGHT)
    for page in (first, second):
        assert np.count_nonzero(page.sum(axis=0) > 100) == 2 * BORDER  # columns of its vertical edges
    assert first.sum() > second.sum() + 1000


def test_bars_are_as_high_as_weights_and_orange_where_the_caption_describes(tmp_path: Path) -> None:
    weights = np.array([0.0, 0.1, 0.1, 0.5, 0.3, 0.0])
    own = FoundVideo(frames(200), 1.0, 1, weights)
    described = np.arange(6) == 3
    page = drawn(tmp_path / "a.png", [query(own=own, others=[], described=described)])
    strip = int(np.flatnonzero(coloured(page, RIGHT).any(axis=1)).max())  # the lower edge of its border
    blue, orange = (coloured(page, colour)[strip:] for colour in (WEIGHT, PART))
    heights = blue.sum(axis=0)
    bars = heights[np.flatnonzero(np.diff(heights, prepend=0) > 0)]  # as each begins
    assert len(bars) == 3 and bars[0] == bars[1]
    highest = orange.sum(axis=0).max()
    assert highest / bars[2] == pytest.approx(5 / 3, rel=0.1) and highest / bars[0] == pytest.approx(5, rel=0.2)
    none = drawn(tmp_path / "a.png", [query(own=own, others=[])])
    assert not coloured(none, PART).any()


def test_a_narrow_picture_has_the_own_videos_alone() -> None:
    weights, described = np.full(6, 1 / 6), np.arange(6) < 2
    shown = [
        query(own=FoundVideo(frames(90), 1.0, 1, weights), described=described),
        query(own=FoundVideo(frames(120), 1.0, 2)),
    ]
    page = np.asarray(narrow_image(shown))
    assert page.shape[1] == NARROW and page.shape[0] < 900
    found = [np.count_nonzero((page == value).all(axis=-1)) for value in (90, 120, 200)]
    assert min(found[:2]) > 50_000 and found[2] < 1000  # the other videos; edges of letters are grey as well
    assert coloured(page, PART).any() and coloured(page, WEIGHT).any()
    edge = page[-NARROW_MARGIN:]
    assert edge.min() == 255 and page[-NARROW_MARGIN - 60 :].min() < 255  # it ends below the last strip


@pytest.mark.parametrize(
    ("caption", "count", "height", "width"),
    [("", 1, 48, 48), ("caf\u00e9 \u732b \U0001f600", 2, 20, 90), ("word " * 300, 64, 224, 100), ("x" * 500, 3, 5, 5)],
)
def test_any_caption_and_frames_can_be_drawn(tmp_path: Path, caption: str, count: int, height: int, width: int) -> None:
    own = FoundVideo(frames(90, count, height, width), -12.5, 1, np.full(count, 1 / count))
    described = np.zeros(count, bool)
    page = drawn(
        tmp_path / "a.png",
        [QueryResult(caption, own, [], 1, described), QueryResult("second", own, [own], 123456, ~described)],
    )
    assert page.shape[0] < 1200 and page.shape[1] < 2000


def test_refuses_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no queries"):
        draw_retrieval(tmp_path / "a.png", [])
    with pytest.raises(UserError, match="2 captions for 3 rows"):
        query_results(np.eye(3), ["a", "b"], Clips(frames))
