"""Several right videos for a text: every number against loops over sorted lists."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.measured_files import RelevanceFiles, measure_files
from eaglenet_jax.metrics.ranks import Relevance, place
from eaglenet_jax.metrics.relevance import (
    place_relevant,
    ranking_quality,
    read_relevance,
    relevant_chance,
    shared_captions,
)
from eaglenet_jax.metrics.score_report import MeasureOptions

FAST = MeasureOptions(resamples=5)
NT, NV = 9, 6


def made(seed: int = 0) -> tuple[np.ndarray, dict[tuple[int, int], float], Relevance]:
    """Scores without ties, and pairs of random grades with one or more for each text."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(NT * NV).reshape(NT, NV).astype(float)
    grades = {(t, int(rng.integers(NV))): 1.0 for t in range(NT)}
    grades |= {(int(rng.integers(NT)), int(rng.integers(NV))): float(rng.integers(1, 4)) for _ in range(8)}
    rows, columns = np.array(sorted(grades)).T
    owner = np.array([min(v for t, v in grades if t == text) for text in range(NT)])
    values = np.array([grades[pair] for pair in sorted(grades)])
    return scores, grades, Relevance(rows, columns, values, owner)


def trec(scores: list[float], grades: dict[int, float]) -> tuple[int, float, float]:
    """Rank of the best right item, average precision and nDCG, as trec_eval defines them, by going down a list."""
    order = sorted(range(len(scores)), key=lambda item: -scores[item])
    found, precisions, gain, best = 0, [], 0.0, 0
    for place_of, item in enumerate(order, 1):
        if item in grades:
            found += 1
            best = best or place_of
            precisions.append(found / place_of)
            gain += grades[item] / math.log2(place_of + 1)
    ideal = sum(grade / math.log2(i + 1) for i, grade in enumerate(sorted(grades.values(), reverse=True), 1))
    return best, sum(precisions) / len(grades), gain / ideal


@pytest.mark.parametrize("seed", range(3))
def test_ranks_map_and_ndcg_are_those_of_a_list(seed) -> None:
    scores, grades, relevance = made(seed)
    of_text = [trec(scores[t].tolist(), {v: g for (s, v), g in grades.items() if s == t}) for t in range(NT)]
    videos = sorted({v for _, v in grades})
    of_video = [trec(scores[:, v].tolist(), {t: g for (t, w), g in grades.items() if w == v}) for v in videos]
    placement = place_relevant(scores, relevance, v2t_among="captions")
    quality = ranking_quality(scores, relevance)
    for side, expected in (("t2v", of_text), ("v2t", of_video)):
        # The best right one stands behind nothing but wrong ones, so its rank is that of the list.
        assert getattr(placement, side).ranks().tolist() == [rank for rank, _, _ in expected]
        assert quality[side]["MAP"] == pytest.approx(100 * np.mean([each[1] for each in expected]))
        assert quality[side]["nDCG"] == pytest.approx(100 * np.mean([each[2] for each in expected]))


def test_a_run_that_trec_eval_has_measured() -> None:
    """map and ndcg of pytrec_eval-terrier 0.5.11 on the scores and grades of `made(0)`."""
    scores, _, relevance = made(0)
    quality = ranking_quality(scores, relevance)["t2v"]
    assert quality["MAP"] == pytest.approx(42.46913580246913)
    assert quality["nDCG"] == pytest.approx(57.4301719747012)


def test_among_videos_a_rival_is_the_best_wrong_caption_of_another_video() -> None:
    scores, grades, relevance = made(5)
    ranks = place_relevant(scores, relevance).v2t.ranks().tolist()
    expected = []
    for video in sorted({v for _, v in grades}):
        right = {t for t, v in grades if v == video}
        best = max(scores[t, video] for t in right)
        owned = [[t for t in range(NT) if relevance.text_video[t] == other] for other in range(NV)]
        rivals = [max((scores[t, video] for t in texts if t not in right), default=-1) for texts in owned]
        expected.append(1 + sum(rival > best for rival in rivals))
    assert ranks == expected


def test_one_right_video_each_is_the_ordinary_count() -> None:
    rng = np.random.default_rng(1)
    owner = np.array([0, 0, 1, 3, 3, 3, 4])
    scores = rng.integers(0, 6, (7, 5)).astype(float)  # with ties
    single = Relevance(np.arange(7), owner, np.ones(7), owner)
    for among in ("videos", "captions"):
        found, expected = place_relevant(scores, single, v2t_among=among), place(scores, owner, v2t_among=among)
        for side in ("t2v", "v2t"):
            for rule in ("mean", "optimistic", "pessimistic"):
                assert getattr(found, side).ranks(rule).tolist() == getattr(expected, side).ranks(rule).tolist()


@pytest.mark.parametrize(("rule", "precision"), [("optimistic", 1.0), ("pessimistic", 1 / 3), ("mean", 1 / 2)])
def test_a_right_item_that_ties_with_two_wrong_ones(rule, precision) -> None:
    relevance = Relevance(np.array([0]), np.array([1]), np.ones(1), np.array([1]))
    quality = ranking_quality(np.array([[2.0, 2.0, 2.0, 1.0]]), relevance, rule)["t2v"]
    assert quality["MAP"] == pytest.approx(100 * precision)
    assert quality["nDCG"] == pytest.approx(100 / math.log2(1 + 1 / precision))


def test_captions_that_several_videos_have_are_right_for_each() -> None:
    shared = shared_captions(["A dog  runs", "a cat", "a dog runs", "a dog runs"], np.array([0, 0, 1, 2]))
    pairs = set(zip(shared.rows.tolist(), shared.columns.tolist(), strict=True))
    assert pairs == {(1, 0), *itertools.product((0, 2, 3), (0, 1, 2))}
    assert shared.text_video.tolist() == [0, 0, 1, 2]


def test_chance_is_the_mean_over_all_orders() -> None:
    relevance = Relevance(np.array([0, 0, 1]), np.array([0, 2, 1]), np.ones(3), np.array([0, 1]))
    best = [
        min(order.index(item) for item in right) + 1
        for right in ((0, 2), (1,))
        for order in itertools.permutations(range(4))
    ]
    chance = relevant_chance(relevance, (2, 4), "videos")
    assert list(chance) == ["t2v"]
    assert chance["t2v"]["MnR"] == pytest.approx(np.mean(best))
    assert chance["t2v"]["MdR"] == np.median(best)
    assert chance["t2v"]["R@1"] == pytest.approx(100 * np.mean(np.array(best) == 1))
    assert chance["t2v"]["MRR"] == pytest.approx(100 * np.mean(1 / np.array(best)))


FILES = {
    "pairs.txt": "t0 a\nt0 c\nt2 b.mp4\n",
    "pairs.csv": "text,video\nt0,a\nt0,c\nt2,b\n",
    "pairs.tsv": "t0\ta\nt0\tc\nt2\tb\nt1\ta\t0\n",
    "qrels.txt": "t0 0 a 1\nt0 0 c 1\nt2 0 b 1\nt1 0 c 0\n",
    "quoted.csv": 'text;video\n"t0";"a"\n"t0";"c"\n"t2";"b"\n',
    "pairs.json": json.dumps({"t0": ["a", "c"], "t2": {"b": 1}}),
    "alone.json": json.dumps({"t0": ["a", "c"], "t2": "b.mp4"}),
    "list.json": json.dumps([["t0", "a"], ["t0", "c"], ["t2", "b"]]),
}


@pytest.mark.parametrize("name", FILES)
def test_pairs_are_read_from_every_form(tmp_path, name) -> None:
    (tmp_path / name).write_text("\ufeff" + FILES[name])
    found, answered = read_relevance(tmp_path / name, (3, 3), ["t0", "t1", "t2"], list("abc"))
    assert answered.tolist() == [True, False, True]
    assert list(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 1)]
    assert found.text_video.tolist() == [0, 1]


def test_pairs_are_read_from_an_array(tmp_path) -> None:
    np.save(tmp_path / "pairs.npy", [[1, 2, 1], [0, 1, 0], [0, 0, 3]])
    found, answered = read_relevance(tmp_path / "pairs.npy", (3, 3), None, None)
    assert answered.tolist() == [True, True, False]
    assert list(zip(found.rows.tolist(), found.columns.tolist(), found.grades.tolist(), strict=True)) == [
        (0, 0, 3.0),
        (1, 2, 1.0),
    ]


def test_a_matrix_with_pairs_is_measured_by_the_best_right_one(tmp_path) -> None:
    scores = np.array([[1.0, 9, 2, 8], [5, 1, 2, 3], [0, 1, 2, 3]])
    np.save(tmp_path / "s.npy", scores)
    (tmp_path / "qrels.txt").write_text("0 0 0 1\n0 0 3 2\n1 0 3 1\n")
    report = measure_files(tmp_path / "s.npy", relevance=RelevanceFiles(pairs=tmp_path / "qrels.txt"), options=FAST)
    assert report.placement.t2v.ranks().tolist() == [2.0, 2.0]
    assert "1 text without a right video" in report.summary["notes"][0]
    # Text 0: right at places 2 and 4; text 1 at place 2.
    assert report.summary["ranking"]["t2v"]["MAP"] == pytest.approx(100 * ((1 / 2 + 2 / 4) / 2 + 1 / 2) / 2)
    gain = (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3))
    assert report.summary["ranking"]["t2v"]["nDCG"] == pytest.approx(100 * (gain + 1 / math.log2(3)) / 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 0\n1 7\n", r"video '7' \(pair 2\) is not among the video ids; give --video-ids=FILE"),
        ("0 0\nx 1\n", r"text 'x' \(pair 2\) is not among the text ids; give --text-ids=FILE"),
        ("x 1\n0 0\n", r"text 'x' \(pair 1\) is not among the text ids"),  # no header: the video is known
        ("text,video,grade\nx,y,1\n", r"text 'x' \(pair 2\)"),  # only one line can be a header
        ("0 0 1 2 3\n", "line 1 has 5 fields"),
        ("0 1 x\n1 1 y\n", "the grade in line 2 is 'y'"),
        ("0 1 0\n", "no right pair"),
        ("0 1 1\n1 1 nan\n", "the grade in line 2 is nan: write a number"),
    ],
)
def test_pairs_that_do_not_fit_are_one_line(tmp_path, content, message) -> None:
    (tmp_path / "pairs.txt").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_relevance(tmp_path / "pairs.txt", (2, 3), None, None)
    assert "\n" not in str(caught.value)


def test_objects_in_a_list_of_pairs_are_one_line(tmp_path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps([{"text": "0", "video": "1"}]))
    with pytest.raises(UserError, match=r"a pair is {'text': '0', 'video': '1'}, no list \[text, video\]"):
        read_relevance(tmp_path / "pairs.json", (2, 3), None, None)
