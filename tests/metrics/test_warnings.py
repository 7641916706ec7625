"""What a report says of scores that are not what they are taken for, and of post-processing that does not suit them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.measured_files import QueryBankFiles, RelevanceFiles, ValidationFiles, measure_files
from eaglenet_jax.metrics.postprocess import choose_temperature, dual_softmax_order
from eaglenet_jax.metrics.ranks import RetrievalScores, chance_metrics, place
from eaglenet_jax.metrics.score_files import MatrixForm
from eaglenet_jax.metrics.score_report import MeasureOptions, measure_scores
from eaglenet_jax.reports.score_text import format_report, small_gallery_line


def cosines(size: int = 40, seed: int = 0) -> np.ndarray:
    """Scores as of CLIP: around 0.2, right pairs a little higher, with hubs."""
    rng = np.random.default_rng(seed)
    return 0.2 + 0.04 * rng.normal(size=(size, size)) + 0.09 * np.eye(size) + 0.02 * rng.normal(size=size)


def measured(scores: np.ndarray, *methods: str, **options: object) -> dict:
    return measure_scores(RetrievalScores(scores), options=MeasureOptions(methods, resamples=5, **options)).summary


def exact_ranks(scores: np.ndarray, temperature: float) -> list[int]:
    """Ranks of the diagonal by s · softmax(temperature · s) in numbers of four hundred digits, text → video."""
    getcontext().prec = 400
    powers = [[(Decimal(temperature) * Decimal(s)).exp() for s in row] for row in scores.tolist()]
    sums = [sum(column) for column in zip(*powers, strict=True)]
    values = [
        [Decimal(s) * power / total for s, power, total in zip(row, of_row, sums, strict=True)]
        for row, of_row in zip(scores.tolist(), powers, strict=True)
    ]
    return [1 + sum(value > row[i] for value in row) for i, row in enumerate(values)]


@pytest.mark.parametrize("offset", [0.0, -0.25, -0.5])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_dual_softmax_ranks_as_exact_numbers_do(scale, offset) -> None:
    scores = scale * (cosines(12) + offset)
    ranks = place(dual_softmax_order(scores, 100.0)).t2v.ranks("pessimistic")
    assert ranks.tolist() == exact_ranks(scores, 100.0)
    turned = place(dual_softmax_order(scores.T, 100.0, "v2t")).v2t.ranks("pessimistic")
    np.testing.assert_array_equal(ranks, turned)


def test_a_temperature_on_scores_that_carry_the_logit_scale_makes_no_ties_and_is_warned_of() -> None:
    plain, scaled = measured(cosines(), "dual_softmax"), measured(100 * cosines(), "dual_softmax")
    assert not plain["warnings"]
    assert scaled["postprocessed"]["dual_softmax"]["t2v"]["R@10"] >= scaled["metrics"]["t2v"]["R@10"]
    (warning,) = scaled["warnings"]
    assert "may carry CLIP's logit scale already; temperature 100 is meant for cosines. Try --temperature=1" in warning
    assert "WARNING: dual_softmax" in format_report(scaled)
    assert not measured(100 * cosines(), "dual_softmax", temperature=1.0)["warnings"]
    assert "no cosines" in measured(100 * cosines(), "sinkhorn")["warnings"][0]


def test_negative_scores_are_warned_of_and_a_row_below_chance_is_flagged() -> None:
    found = measured(cosines() - 1, "dual_softmax", "sinkhorn")
    assert found["metrics"]["t2v"]["R@1"] > 40 > 5 > found["postprocessed"]["dual_softmax"]["t2v"]["R@1"]
    said = " | ".join(found["warnings"])
    assert "right pair of 100 % of the texts scores below 0" in said and "reverses the order" in said
    assert "dual_softmax, text → video: a mean rank of" in said and "is below chance (20.5)" in said
    assert "sinkhorn" not in said.replace("use sinkhorn", "")
    shifted = measured(cosines(), "sinkhorn")["postprocessed"]["sinkhorn"]
    assert found["postprocessed"]["sinkhorn"] == shifted


def test_ties_that_a_method_makes_are_flagged() -> None:
    found = measured(np.round(100 * cosines()) * 1e14, "sinkhorn", temperature=1e-30)
    assert "is tied, of" in " | ".join(found["warnings"])


@pytest.mark.parametrize("temperature", [None, 3.0])
def test_qb_norm_in_both_directions(tmp_path, temperature) -> None:
    rng = np.random.default_rng(1)
    scores, bank, turned = cosines(20), rng.normal(0.2, 0.1, (30, 20)), rng.normal(0.2, 0.1, (20, 25))
    for name, array in (("s", scores), ("bank", bank), ("turned", turned)):
        np.save(tmp_path / f"{name}.npy", array)
    options = MeasureOptions(["qb_norm"], qb_temperature=temperature, resamples=5)
    banks = QueryBankFiles(tmp_path / "bank.npy", tmp_path / "turned.npy")
    found = measure_files(tmp_path / "s.npy", query_bank=banks, options=options).summary

    def ranks(queries: np.ndarray, training: np.ndarray) -> list[int]:
        beta = temperature or 20.0
        hubs = {int(np.argmax(row)) for row in training}
        placed = []
        for query, row in enumerate(queries):
            if int(np.argmax(row)) in hubs:
                row = np.array([np.exp(beta * s) / np.exp(beta * training[:, i]).sum() for i, s in enumerate(row)])
            placed.append(1 + np.count_nonzero(row > row[query]))
        return placed

    sides = found["postprocessed"]["qb_norm"]
    assert sides["t2v"]["MnR"] == pytest.approx(np.mean(ranks(scores, bank)))
    assert sides["v2t"]["MnR"] == pytest.approx(np.mean(ranks(scores.T, turned.T)))
    assert f"qb_norm: temperature {temperature or 20:g}, " in format_report(found)


def test_the_temperature_is_chosen_on_validation_scores_with_ids(tmp_path) -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(40)
    validation = 5 * cosines(40, seed=5)
    np.save(tmp_path / "test.npy", 5 * cosines(30))
    np.savez(tmp_path / "val.npz", sims=validation[:, order])
    (tmp_path / "texts.txt").write_text("\n".join(f"v{i}#0" for i in range(40)))
    (tmp_path / "videos.csv").write_text("id,n\n" + "\n".join(f"v{i}.mp4,1" for i in order))
    ids = RelevanceFiles(text_ids=tmp_path / "texts.txt", video_ids=tmp_path / "videos.csv")
    options = MeasureOptions(["dual_softmax"], resamples=5)
    given = ValidationFiles(tmp_path / "val.npz", ids)
    found = measure_files(tmp_path / "test.npy", validation=given, options=options).summary
    assert found["temperatures"]["dual_softmax"]["t2v"] == choose_temperature(validation)
    wrong = measure_files(tmp_path / "test.npy", validation=tmp_path / "val.npz", options=options).summary
    assert wrong["temperatures"]["dual_softmax"]["t2v"] != choose_temperature(validation)


def test_each_direction_of_reranked_scores_has_the_temperature_of_its_own_validation_scores() -> None:
    validation = RetrievalScores(5 * cosines(40, seed=5), None, cosines(40, seed=6) / 20)
    report = measure_scores(
        RetrievalScores(cosines(30)), validation=validation, options=MeasureOptions(["dual_softmax"], resamples=5)
    )
    chosen = report.summary["temperatures"]["dual_softmax"]
    assert chosen["t2v"] == choose_temperature(validation.scores)
    assert chosen["v2t"] == choose_temperature(validation.v2t_scores, direction="v2t")
    assert chosen["v2t"] != choose_temperature(validation.scores, direction="v2t")


def said(tmp_path, scores: np.ndarray, **relevance: object) -> str:
    np.save(tmp_path / "s.npy", scores)
    options = MeasureOptions(resamples=5)
    return " | ".join(
        measure_files(tmp_path / "s.npy", relevance=RelevanceFiles(**relevance), options=options).summary["warnings"]
    )


def test_distances_a_turned_matrix_and_a_shift_are_found(tmp_path) -> None:
    scores = cosines(60)
    assert said(tmp_path, scores) == ""
    for nothing in (np.random.default_rng(0).normal(size=(60, 60)), np.zeros((60, 60))):
        assert "is no better than chance (30.5): are rows and columns in the order" in said(tmp_path, nothing)
    assert said(tmp_path, np.random.default_rng(0).normal(size=(8, 8))) == ""  # too few to say anything
    assert "far below chance (30.5): if these are distances" in said(tmp_path, 1 - scores)
    for moved, words in ((np.roll(scores, 1, axis=1), "one column after"), (np.roll(scores, -1, axis=1), "before")):
        assert words in said(tmp_path, moved) and "is a row or column missing" in said(tmp_path, moved)
    halfway = np.concatenate([scores[:20], scores[19:59]])  # a row twice
    assert "one column before their own first" in said(tmp_path, halfway)
    order = np.random.default_rng(1).permutation(60)
    (tmp_path / "texts.txt").write_text("\n".join(f"v{i}" for i in range(60)))
    (tmp_path / "videos.txt").write_text("\n".join(f"v{i}" for i in order))
    ids = {"text_ids": tmp_path / "texts.txt", "video_ids": tmp_path / "videos.txt"}
    assert said(tmp_path, scores[:, order], **ids) == ""
    assert "if the matrix is videos × texts, add --transpose" in said(tmp_path, scores[:, order].T, **ids)


def test_scores_of_few_values_fit_no_other_reading_by_their_ties(tmp_path) -> None:
    grades = np.random.default_rng(1).integers(0, 4, (60, 60)).astype(float)  # a quarter of a row are its highest
    order = np.random.default_rng(2).permutation(60)
    for file, names in (("texts.txt", range(60)), ("videos.txt", order)):
        (tmp_path / file).write_text("\n".join(f"v{i}" for i in names))
    ids = {"text_ids": tmp_path / "texts.txt", "video_ids": tmp_path / "videos.txt"}
    right = np.maximum(grades, 3 * np.eye(60))  # the right one is among the highest
    assert said(tmp_path, right) == "" and said(tmp_path, right[:, order], **ids) == ""
    assert said(tmp_path, np.maximum(grades, 2 * np.eye(60))) == ""
    above = np.maximum(grades, 4 * np.eye(60))
    assert "--transpose" in said(tmp_path, above[:, order].T, **ids)
    assert "one column after" in said(tmp_path, np.roll(above, 1, axis=1))


def lines(file: Path, entries: Iterable[str]) -> Path:
    file.write_text("\n".join(entries))
    return file


def test_ids_or_captions_in_another_order_than_the_scores_are_found(tmp_path) -> None:
    rng = np.random.default_rng(4)
    videos = [f"v{i}" for i in range(60)]
    scores = np.repeat(cosines(60), 3, axis=0) + 0.03 * rng.normal(size=(180, 60))
    right = 100 * np.mean(scores.argmax(axis=1) == np.repeat(np.arange(60), 3))
    texts = lines(tmp_path / "texts.txt", (f"{video}#{k}" for video in videos for k in range(3)))
    asked = {"text_ids": texts, "video_ids": lines(tmp_path / "videos.txt", videos)}
    assert said(tmp_path, scores, **asked) == said(tmp_path, scores, captions_per_video="3") == ""

    other = {**asked, "video_ids": lines(tmp_path / "sorted.txt", sorted(videos))}
    found = said(tmp_path, scores, **other)
    assert found.startswith("with the columns in the order in which the rows name their videos, R@1 would be ")
    assert float(found.split()[-4]) == pytest.approx(right, abs=0.05)

    rows = rng.permutation(180)  # the rows are mixed, so that only the names tell the order of the columns
    mixed = lines(tmp_path / "mixed.txt", (texts.read_text().split("\n")[row] for row in rows))
    order = np.argsort(videos)  # as strings: the scores are sorted so, their ids are not
    found = said(tmp_path, scores[rows][:, order], text_ids=mixed, video_ids=asked["video_ids"])
    assert found.startswith("with the columns sorted by id, R@1 would be ")
    found = said(tmp_path, scores[rows], text_ids=mixed, video_ids=other["video_ids"])
    assert found.startswith("with the columns sorted by id, by the numbers in it, R@1 would be ")

    rounds = np.concatenate([scores[k::3] for k in range(3)])
    assert "with the first captions of all videos before the second ones" in said(
        tmp_path, rounds, captions_per_video="3"
    )
    assert "with each text one row later" in said(tmp_path, np.roll(scores, 1, axis=0), captions_per_video="3")
    found = said(tmp_path, scores[rows][:, rng.permutation(60)], text_ids=mixed, video_ids=asked["video_ids"])
    assert "is no better than chance (30.5), although captions of one video agree on another column" in found


def test_distances_with_several_right_videos_and_names_of_a_turned_table_are_found(tmp_path) -> None:
    scores = cosines(60) + 0.09 * np.roll(np.eye(60), 7, axis=1)
    pairs = lines(tmp_path / "pairs.txt", (f"{i} {j}" for i in range(60) for j in (i, (i + 7) % 60)))
    assert said(tmp_path, scores, pairs=pairs) == ""
    assert "far below chance (20.3): if these are distances" in said(tmp_path, 1 - scores, pairs=pairs)
    rows = (",".join([f"v{i}", *map(str, row)]) for i, row in enumerate(scores.T))
    table = lines(tmp_path / "s.csv", [",".join(["", *(f"v{i}#0" for i in range(60))]), *rows])
    with pytest.raises(UserError, match=r"names of videos in its rows and of texts in its columns: add --transpose"):
        measure_files(table)
    found = measure_files(table, form=MatrixForm(transpose=True), options=MeasureOptions(resamples=5)).summary
    assert found["metrics"]["t2v"]["R@1"] == pytest.approx(100 * np.mean(scores.argmax(axis=1) == np.arange(60)))


def test_a_gallery_that_is_smaller_than_k_says_so() -> None:
    found = measured(np.eye(4) + np.random.default_rng(0).normal(size=(4, 4)))
    assert [found["metrics"]["t2v"][name] for name in ("R@5", "R@10", "R@50")] == [None] * 3
    assert found["metrics"]["t2v"]["R@1"] is not None and found["metrics"]["Rsum"] is None
    assert found["chance"]["t2v"]["R@5"] is None and found["intervals"]["v2t"]["R@10"] is None
    text = format_report(found)
    assert "the gallery has 4 items: R@5, R@10, R@50 would be 100 whatever the scores" in text
    row = next(line for line in text.splitlines() if line.startswith("scores"))
    assert row.split()[2:4] == ["–", "–"] and row.split()[-1] == "–"
    assert "gallery" not in format_report(measured(cosines(11)))
    rows = [("chance", chance_metrics((4, 12), np.arange(4)))]
    assert small_gallery_line(rows).startswith("R@5, R@10 would be 100") and not small_gallery_line([])
