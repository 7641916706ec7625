"""What a report says and how it treats what it is given."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import Relevance, RetrievalScores
from eaglenet_jax.metrics.score_report import Baseline, MeasureOptions, ScoreReport, measure_scores
from eaglenet_jax.reports.notable_queries import Gallery, answered, duplicates, hardest, moved_most, spread
from eaglenet_jax.reports.score_page import Context, score_page, write_score_page
from tests.reports.sample_report import ATTACK, write_made_page

GALLERY = Gallery(["a", "b", "a", "d", "e"], [f"v{column}" for column in range(7)])


def _measured(scores: np.ndarray, **options: object) -> ScoreReport:
    bank = scores[:2] if "qb_norm" in options.get("postprocess", ()) else None
    return measure_scores(RetrievalScores(scores), query_bank=bank, options=MeasureOptions(resamples=20, **options))


def test_everything_is_on_the_page_and_nothing_is_loaded(tmp_path) -> None:
    page = write_made_page(tmp_path / "new/report.html").read_text()
    for words in ("Results", "Recall and ranks", "Against other run", "Queries that moved most", "What is found"):
        assert f">{words}" in page
    for words in ("verb “walks”", "noun “dog”", "|R|₁ 64.0<", "pairs that belong together: mean", "Frames are dark"):
        assert words in page
    for words in ("Hardest queries", "The same words", "v3 (", "v7 (", "energy -0.500", "hash 0123456789", "A note."):
        assert words in page
    assert ATTACK not in page and html.escape(ATTACK, quote=False).replace("'", "&#39;") in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page) and "@import" not in page and "url(" not in page
    assert page.count("<img") > 100


def test_it_begins_with_a_sentence_and_a_picture_and_says_who_is_better(tmp_path) -> None:
    page = write_made_page(tmp_path / "report.html").read_text()
    r_at_1 = re.search(r'class="own".*?data-column="R@1">([\d.]+)', page, re.DOTALL)[1]
    sentence = f"The right video comes first in {float(r_at_1) * 0.3:.0f} of 30 searches; by chance in 1."
    order = [page.index(part) for part in (sentence, '<img class="retrieval"', ">Results<", "<table")]
    assert order == sorted(order)
    assert page.count("data:image/webp") == 2 and "finds its video at rank 1" in page
    assert "scores is better than zero-shot CLIP: the right video comes first" in page
    assert "scores is better than other run: the right video comes first 30.0 points more often (95 % interval" in page
    keys = re.findall(r'<line class="line (\w+)"[^>]*/></svg>([^<]+)</li>', page)
    assert keys == [
        ("series0", "scores"),
        ("series1", "other run"),
        ("series2", "zero-shot CLIP"),
        ("chance", "chance"),
    ]
    curves = re.findall(r'<polyline class="line (\w+)"', page)
    assert curves == [mark for mark, _ in keys] * 2
    assert "of these 6 queries the right video has the lowest energy in 4" in page


def test_a_difference_that_is_not_shown_is_said() -> None:
    scores = np.eye(30) + np.arange(900).reshape(30, 30) / 10_000
    other = scores.copy()
    other[0, :2] = scores[0, 1::-1]  # one query of thirty does not find its video
    report = measure_scores(
        RetrievalScores(scores), name="ours", baseline=Baseline(RetrievalScores(other), "theirs"),
        options=MeasureOptions(resamples=50),
    )  # fmt: skip
    page = score_page(report, Context("both"))
    assert "Whether ours or theirs is better is not shown: R@1 differs by +3.3 points" in page
    assert "is better than theirs" not in page


def test_two_systems_stand_side_by_side_on_the_same_queries() -> None:
    ours = np.eye(4) + np.arange(16).reshape(4, 4) / 1000
    theirs = np.roll(ours, 1, axis=1)  # never right
    report = measure_scores(
        RetrievalScores(ours), name="ours", baseline=Baseline(RetrievalScores(theirs), "theirs"),
        options=MeasureOptions(resamples=20),
    )  # fmt: skip
    frames = [np.full((2, 20, 20, 3), 60 * video, np.uint8) for video in range(4)]
    gallery = Gallery([f"caption {row}" for row in range(4)], [f"v{row}" for row in range(4)], lambda v: frames[v])
    page = score_page(report, Context("both"), gallery)
    queries = page.split('<article class="query">')[1:5]
    for row, query in enumerate(queries):
        own, other = query.split('<p class="system">')[1:]
        assert own.startswith("ours") and other.startswith("theirs")
        names = [re.findall(r'<b>\d\.</b> <span class="name">(v\d)</span>', each) for each in (own, other)]
        assert names[0][0] == f"v{row}" and names[1][0] == f"v{(row + 1) % 4}"
        assert "right video at rank 1<" in own and "right video at rank 1<" not in other
        assert own.count("<img") == other.count("<img") == 8
    assert "Each query is shown for both systems." in page
    alone = score_page(_measured(ours), Context("one"), gallery)
    assert 'class="system"' not in alone and "both systems" not in alone


def _found_captions(page: str) -> list[list[tuple[str, list[str]]]]:
    """Of each video in the part of captions: (rank of its caption, captions found) by each system."""
    part = page[page.index(">Captions found for a video<") : page.index(">Hardest queries<")]
    found = []
    for video in part.split('<article class="query">')[1:]:
        ranks = re.findall(r"right at rank ([\d.]+)<", video)
        lists = [re.findall("“(.*?)”", each) for each in video.split('<ol class="captions">')[1:]]
        found.append(list(zip(ranks, lists, strict=True)))
    return found


def test_captions_of_a_video_are_those_of_both_systems_by_their_scores_of_that_direction() -> None:
    ours = np.eye(5)[:, ::-1] + np.arange(25).reshape(5, 5) / 1000  # text → video is never asked here
    for_videos = np.eye(5) + np.arange(25).reshape(5, 5) / 1000
    theirs = np.roll(for_videos, 1, axis=0)  # the caption of the video before
    report = measure_scores(
        RetrievalScores(ours, v2t_scores=for_videos), name="ours", options=MeasureOptions(resamples=20),
        baseline=Baseline(RetrievalScores(ours, v2t_scores=theirs), "theirs"),
    )  # fmt: skip
    frames = np.full((2, 20, 20, 3), 60, np.uint8)
    gallery = Gallery([f"caption {row}" for row in range(5)], [f"v{row}" for row in range(5)], lambda _: frames)
    page = score_page(report, Context("both"), gallery)
    for video, (own, other) in zip((0, 1, 2, 4), _found_captions(page), strict=True):
        assert own[0] == "1" and own[1][0] == f"caption {video}" and len(own[1]) == 3
        assert other[0] != "1" and other[1][0] == f"caption {(video + 1) % 5}"
        assert f"caption {video}" in other[1]  # its own, behind the three best where it is none of them
    part = page[page.index(">Captions found for a video<") : page.index(">Hardest queries<")]
    assert part.count("✓ right") == 8 and part.count("<img") == 2 * 4
    assert part.count("ours <span") == part.count("theirs <span") == 4
    alone = score_page(_measured(for_videos), Context("one"), gallery)
    assert [len(each) for each in _found_captions(alone)] == [1] * 4 and "both systems" not in alone
    unnamed = score_page(_measured(for_videos), Context("sims"))
    assert "Captions found for a video" not in unnamed


def test_a_matrix_alone_gives_a_page() -> None:
    scores = np.eye(5) + np.arange(25).reshape(5, 5) / 100
    page = score_page(_measured(scores), Context("sims"))
    assert "Every query finds its video first" in page and "give the captions" in page and "<img" not in page
    with pytest.raises(UserError, match="1 captions and 5 videos for scores of 5 × 5"):
        score_page(
            _measured(scores),
            Context("sims"),
            Gallery(["one"], list("abcde")),
        )


def test_a_gallery_of_four_has_no_fifth_in_any_row() -> None:
    other = {side: {"R@1": 25.0, "R@5": 100.0, "MnR": 2.5} for side in ("t2v", "v2t")} | {"Rsum": 475.0}
    page = score_page(_measured(np.eye(4)), Context("sims", before=[("zero-shot CLIP", other)]))
    (row, *_) = re.findall(r"<tr[^>]*>(?:(?!</tr>).)*zero-shot CLIP(?:(?!</tr>).)*</tr>", page, re.DOTALL)
    assert "25.0" in row and "100.0" not in row and "475.0" not in page


def test_the_page_names_the_temperature_of_every_method() -> None:
    report = _measured(np.eye(5), postprocess=["sinkhorn", "qb_norm"], qb_temperature=7.0)
    page = score_page(report, Context("sims"))
    assert "sinkhorn: temperature 100, the default." in page and "qb_norm: temperature 7, as given." in page


def test_every_right_video_is_marked() -> None:
    """Text 0 has videos 1 and 2, of which 2 is best; text 1 has videos 0 and 4, of which none is in front."""
    scores = np.zeros((5, 7)) - np.arange(7) / 100
    scores[0, [1, 2, 5]] = 0.5, 0.7, 0.9
    scores[1, [0, 4]] = -1, -2
    scores[2:, 3] = 1
    rows, columns = np.array([0, 0, 1, 1, 2, 3, 4]), np.array([1, 2, 0, 4, 3, 3, 3])
    pairs = Relevance(rows, columns, np.ones(7), np.array([1, 0, 3, 3, 3]))
    report = measure_scores(RetrievalScores(scores, relevance=pairs), options=MeasureOptions(resamples=20))
    assert [report.right_videos(text) for text in range(3)] == [[1, 2], [0, 4], [3]]
    assert [report.right_texts(video) for video in (3, 4, 5)] == [[2, 3, 4], [1], []]
    first, second = answered([0, 1], report.scores, report.right_videos, report.placement.t2v.ranks("mean"), GALLERY)
    assert [(video.name, video.rank, video.right) for video in first.found] == [
        *(("v5", "1", False), ("v2", "2", True), ("v1", "3", True), ("v0", "4", False))
    ]
    assert [(video.name, video.right) for video in second.found[-2:]] == [("v5", False), ("v0", True)]
    assert second.rank == second.found[-1].rank == "6"
    page = score_page(report, Context("sims"), GALLERY)
    shown = page[page.index("What is found") : page.index("Captions found for a video")]
    assert shown.count("✓ right") == 2 + 1 + 3
    assert "which of them are right is given" in page and "the first right one where none is among them" in page


def test_a_page_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    report = _measured(np.eye(3))
    with pytest.raises(UserError, match=r"cannot write the report .*give another --report"):
        write_score_page(tmp_path / "file/report.html", report, Context("sims"))


def test_queries_are_chosen_as_said() -> None:
    ranks, before = np.array([1.0, 40.0, 3.0, 10.0]), np.array([10.0, 4.0, 3.0, 12.0])
    assert hardest(ranks, 2) == [1, 3] and hardest(np.ones(4), 3) == []
    assert moved_most(ranks, before, 2) == ([0, 3], [1])
    assert spread(100, 3) == [0, 49, 99] and spread(2, 6) == [0, 1]
    same = duplicates(["A b", "c", "a  B", "a b"], np.array([0, 1, 2, 0]), np.array([9.0, 1, 3, 2]), ["v", "w", "x"])
    assert [(each.caption, list(each.videos)) for each in same] == [("A b", [("v", "2"), ("x", "3")])]
