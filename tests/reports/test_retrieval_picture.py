"""The picture of results: what it shows is what the scores say, and it can be drawn from any frames and captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.retrieval_picture import FoundVideo, QueryResult, draw_retrieval, query_results

GREEN = (0x14, 0x74, 0x3A)


def frames(shade: int, count: int = 6, height: int = 48, width: int = 48) -> np.ndarray:
    return np.full((count, height, width, 3), shade, np.uint8)


def test_results_are_the_best_videos_in_order_with_the_right_one_marked() -> None:
    rng = np.random.default_rng(0)
    scores, text_video = rng.normal(size=(30, 20)), rng.integers(0, 20, 30)
    asked: list[int] = []

    def frames_of(video: int) -> np.ndarray:
        asked.append(video)
        return frames(video)

    results = query_results(scores, [f"caption {i}" for i in range(30)], frames_of, text_video=text_video, queries=4)
    assert [result.caption for result in results] == ["caption 0", "caption 9", "caption 19", "caption 29"]
    assert len(asked) == 20
    for text, result in zip((0, 9, 19, 29), results, strict=True):
        order = np.argsort(-scores[text])
        assert [int(video.frames[0, 0, 0, 0]) for video in result.found] == order[:5].tolist()
        assert [video.score for video in result.found] == scores[text, order[:5]].tolist()
        assert [video.correct for video in result.found] == (order[:5] == text_video[text]).tolist()
        assert result.right_rank == 1 + order.tolist().index(text_video[text])


def test_tied_videos_stand_in_the_order_of_the_gallery() -> None:
    (result,) = query_results(
        np.zeros((1, 7)), ["x"], frames, text_video=np.array([3]), queries=1
    )  # a video's shade is its column
    assert [int(video.frames[0, 0, 0, 0]) for video in result.found] == [0, 1, 2, 3, 4]
    assert result.right_rank == 4 and [video.rank for video in result.found if video.correct] == [4]


def drawn(path: Path, queries: list[QueryResult]) -> np.ndarray:
    draw_retrieval(path, queries)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_the_right_video_has_a_green_border_and_the_others_none(tmp_path) -> None:
    def query(right: int) -> QueryResult:
        found = [FoundVideo(frames(200), 1.0 - i, i + 1, i == right) for i in range(5)]
        return QueryResult("a red circle", found, right + 1)

    def green_columns(right: int) -> np.ndarray:
        page = drawn(tmp_path / "a.png", [query(right)])[150:]  # below the legend
        tall = (page == GREEN).all(axis=-1).sum(axis=0) > 40  # vertical edges of the border
        return np.flatnonzero(tall)

    first, third, none = green_columns(0), green_columns(2), green_columns(9)
    assert len(first) == len(third) == 10 and len(none) == 0  # two edges of five pixels
    assert third.min() > first.max()


@pytest.mark.parametrize(
    ("caption", "count", "height", "width"),
    [("", 1, 48, 48), ("caf\u00e9 \u732b \U0001f600", 2, 20, 90), ("word " * 300, 64, 224, 100), ("x" * 500, 3, 5, 5)],
)
def test_any_caption_and_frames_can_be_drawn(tmp_path, caption, count, height, width) -> None:
    found = [FoundVideo(frames(90, count, height, width), -12.5, 1, True)]
    page = drawn(tmp_path / "a.png", [QueryResult(caption, found, 1), QueryResult("second", [], 123456)])
    assert page.shape[0] < 600


def test_refuses_what_cannot_be_drawn(tmp_path) -> None:
    with pytest.raises(UserError, match="no queries"):
        draw_retrieval(tmp_path / "a.png", [])
    with pytest.raises(UserError, match="2 captions for 3 rows"):
        query_results(np.eye(3), ["a", "b"], frames)
