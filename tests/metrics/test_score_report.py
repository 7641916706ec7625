"""A score matrix from a file: read safely, counted as the library counts, errors in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.id_files import read_list, relevance_from_captions, relevance_from_ids
from eaglenet_jax.metrics.measured_files import RelevanceFiles, measure_files
from eaglenet_jax.metrics.postprocess import choose_temperature, dual_softmax, qb_norm
from eaglenet_jax.metrics.ranks import RetrievalScores, retrieval_metrics
from eaglenet_jax.metrics.saved_scores import SavedScores, save_scores
from eaglenet_jax.metrics.score_files import load_similarity
from eaglenet_jax.metrics.score_report import MeasureOptions, measure_scores
from eaglenet_jax.reports.score_text import format_report
from tests.metrics.agreement import agrees

COUNTS = [2, 1, 3, 1]
TEXT_VIDEO = np.repeat(np.arange(4), COUNTS)
SCORES = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
FAST = MeasureOptions(resamples=20)


def fast(*postprocess: str, **options: object) -> MeasureOptions:
    return MeasureOptions(postprocess, resamples=20, **options)


@pytest.fixture
def matrix(tmp_path) -> str:
    np.save(tmp_path / "sims.npy", SCORES)
    return str(tmp_path / "sims.npy")


def test_relevance_given_in_every_way_is_the_same(tmp_path, matrix) -> None:
    expected = retrieval_metrics(SCORES, TEXT_VIDEO)
    (tmp_path / "counts.json").write_text(json.dumps(COUNTS))
    np.save(tmp_path / "counts.npy", np.array(COUNTS))
    (tmp_path / "texts.txt").write_text("".join(f"video{v}#{i}\n" for i, v in enumerate(TEXT_VIDEO)))
    (tmp_path / "videos.json").write_text(json.dumps([f"video{v}" for v in range(4)]))
    save_scores(tmp_path / "saved", SavedScores(SCORES, [str(i) for i in range(7)], list("abcd"), TEXT_VIDEO))
    for captions in ("2,1,3,1", str(tmp_path / "counts.json"), str(tmp_path / "counts.npy")):
        found = measure_files(matrix, relevance=RelevanceFiles(captions), options=FAST)
        assert agrees(found.summary["metrics"], expected)
    ids = RelevanceFiles(text_ids=tmp_path / "texts.txt", video_ids=tmp_path / "videos.json")
    assert agrees(measure_files(matrix, relevance=ids, options=FAST).summary["metrics"], expected)
    assert agrees(measure_files(tmp_path / "saved", options=FAST).summary["metrics"], expected)


def test_ids_in_any_order_and_ids_with_a_hash_in_them() -> None:
    assert relevance_from_ids(["b", "a#1", "c#d", "c#d#2"], ["a", "c#d", "b"], (4, 3)).tolist() == [2, 0, 1, 1]
    assert relevance_from_captions("2", (6, 3)).tolist() == [0, 0, 1, 1, 2, 2]


def test_counts_of_captions_are_whole_numbers_however_they_are_written(tmp_path) -> None:
    np.save(tmp_path / "whole.npy", [1.0, 2.0, 0.0])
    (tmp_path / "whole.txt").write_text("1.0\n2\n0.0\n")
    for file in ("whole.npy", "whole.txt"):
        assert relevance_from_captions(str(tmp_path / file), (3, 3)).tolist() == [0, 1, 1]
    for number, counts in enumerate(([1.9, 1.9, 0.2], [1.0, np.nan, 2.0], [True, True, True])):
        np.save(tmp_path / f"{number}.npy", counts)
        with pytest.raises(UserError, match=r"holds '(1\.9|nan|True)', which is not a whole number"):
            relevance_from_captions(str(tmp_path / f"{number}.npy"), (3, 3))


def test_report_is_json_and_its_text_shows_what_matters(tmp_path) -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(40, 40)) + 2 * np.eye(40), 1)
    np.save(tmp_path / "ours.npy", scores)
    np.save(tmp_path / "theirs.npy", rng.normal(size=(40, 40)))
    np.save(tmp_path / "bank.npy", rng.normal(size=(9, 40)))
    report = measure_files(
        tmp_path / "ours.npy",
        baseline=tmp_path / "theirs.npy",
        query_bank=tmp_path / "bank.npy",
        options=fast("dual_softmax", "sinkhorn", "qb_norm", temperature=5.0),
    ).summary
    assert json.loads(json.dumps(report))["name"] == "ours"
    assert agrees(report["metrics"], retrieval_metrics(scores))
    dual = report["postprocessed"]["dual_softmax"]
    assert agrees(dual["t2v"], retrieval_metrics(dual_softmax(scores, 5.0))["t2v"])
    assert agrees(dual["v2t"], retrieval_metrics(dual_softmax(scores, 5.0, "v2t"))["v2t"])
    normalised = report["postprocessed"]["qb_norm"]
    assert list(normalised) == ["t2v"]
    assert agrees(normalised["t2v"], retrieval_metrics(qb_norm(scores, np.load(tmp_path / "bank.npy")))["t2v"])
    text = format_report(report)
    assert max(map(len, text.splitlines())) <= 100
    for expected in ("chance", "theirs", "ours", "ties pessimistic", "(transductive)", "95 %", "paired by query", "–"):
        assert expected in text
    assert text.count("(transductive)") == 2


def test_the_temperature_is_chosen_on_validation_scores(tmp_path) -> None:
    rng = np.random.default_rng(1)
    for name in ("val", "test"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(30, 30)) / 20 + np.eye(30) / 10)
    chosen = measure_files(tmp_path / "test.npy", validation=tmp_path / "val.npy", options=fast("dual_softmax")).summary
    found = chosen["temperatures"]["dual_softmax"]
    for side in ("t2v", "v2t"):
        assert found[side] == choose_temperature(np.load(tmp_path / "val.npy"), None, side)
        expected = retrieval_metrics(dual_softmax(np.load(tmp_path / "test.npy"), found[side], side))[side]
        assert agrees(chosen["postprocessed"]["dual_softmax"][side], expected)
    assert "chosen on the validation scores" in format_report(chosen)
    default = measure_files(tmp_path / "test.npy", options=fast("dual_softmax")).summary
    assert default["temperatures"]["dual_softmax"]["t2v"] == 100.0


def test_lost_queries_are_misses_in_every_row() -> None:
    scores = np.eye(4) + np.random.default_rng(0).normal(size=(4, 4)) / 100
    summary = measure_scores(RetrievalScores(scores), missing=(2, 1), options=fast("sinkhorn")).summary
    assert summary["metrics"]["t2v"]["R@1"] == summary["postprocessed"]["sinkhorn"]["t2v"]["R@1"]
    assert summary["metrics"]["t2v"]["R@1"] == pytest.approx(400 / 6)
    assert summary["metrics"]["v2t"]["R@1"] == 80.0 and summary["metrics"]["t2v"]["queries"] == 6


def test_no_ties_no_rows_about_them() -> None:
    scores = np.random.default_rng(0).normal(size=(10, 10))
    report = measure_scores(RetrievalScores(scores), options=FAST).summary
    assert list(report["by_tie_rule"]) == ["mean"] and "ties" not in format_report(report)


class Trap:
    """Opening it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickles_are_refused_and_not_opened(tmp_path) -> None:
    trap = Trap(str(tmp_path / "opened"))
    np.save(tmp_path / "object.npy", np.array([[trap]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "list.npy", np.array([trap], dtype=object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(trap))
    with pytest.raises(UserError, match="Python objects, which are n"):
        load_similarity(tmp_path / "object.npy")
    with pytest.raises(UserError, match=r"not a \.npy file"):
        load_similarity(tmp_path / "pickle.npy")
    with pytest.raises(UserError, match="is not a JSON list"):
        read_list(tmp_path / "list.npy")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("length", [0, 3, 6, 8, 20, 100, 130, 180])
def test_a_truncated_file_is_one_line(tmp_path, matrix, length) -> None:
    with open(matrix, "rb") as file:
        (tmp_path / "cut.npy").write_bytes(file.read()[:length])
    with pytest.raises(UserError) as caught:
        load_similarity(tmp_path / "cut.npy")
    assert "cut.npy" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array([["a"]]), np.eye(2) * 1j]
)
def test_other_arrays_are_refused(tmp_path, array) -> None:
    np.save(tmp_path / "a.npy", array)
    message = "is empty .* expected a matrix" if not array.size else "has shape .* expected a matrix"
    with pytest.raises(UserError, match=message):
        load_similarity(tmp_path / "a.npy")


COUNTED = {"captions_per_video": "2,1,3,1"}


@pytest.mark.parametrize(
    ("relevance", "options", "message"),
    [
        ({}, {}, "7 texts × 4 videos, not square: give --captions-per-video, or --text-ids and --video-ids"),
        ({"captions_per_video": "2"}, {}, "sum to 8, but the scores have 7 texts"),
        ({"captions_per_video": "2,1,4"}, {}, "3 counts for 4 videos"),
        ({"captions_per_video": "absent.txt"}, {}, "cannot read absent.txt: No such file"),
        ({"text_ids": "a.txt"}, {}, "needed together"),
        ({"captions_per_video": "2", "text_ids": "a", "video_ids": "b"}, {}, "not both"),
        (COUNTED, {"ties": "lucky"}, "optimistic, mean, pessimistic"),
        (COUNTED, {"postprocess": ["magic"]}, "use dual_softmax, sinkhorn or qb_norm"),
        (COUNTED, {"postprocess": ["qb_norm"]}, "needs a query bank"),
    ],
)
def test_what_does_not_fit_is_refused(matrix, relevance, options, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        measure_files(matrix, relevance=RelevanceFiles(**relevance), options=MeasureOptions(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 3.0}, "without post-processing"),
        ({"postprocess": ["sinkhorn"], "temperature": -1.0}, "temperature is -1: give a positive number"),
        ({"postprocess": ["sinkhorn"], "qb_temperature": 3.0}, "without QB-Norm"),
        ({"postprocess": ["qb_norm"], "temperature": 3.0, "qb_temperature": 4.0}, "two temperatures"),
    ],
)
def test_a_temperature_that_nothing_uses_is_refused(options, message) -> None:
    with pytest.raises(UserError, match=message):
        MeasureOptions(**options)


def test_a_query_bank_or_validation_scores_that_nothing_uses_are_refused() -> None:
    scores = RetrievalScores(np.eye(4))
    with pytest.raises(UserError, match="query bank is given without QB-Norm"):
        measure_scores(scores, query_bank=np.ones((2, 4)), options=fast("sinkhorn"))
    for options in (fast("sinkhorn"), fast("dual_softmax", temperature=2.0)):
        with pytest.raises(UserError, match="no temperature to choose on them"):
            measure_scores(scores, validation=scores, options=options)


def inverted_softmax_ranks(scores: np.ndarray, bank: np.ndarray, temperature: float) -> np.ndarray:
    """Ranks of the diagonal by the equations of QB-Norm: a ratio of exponentials, query by query."""
    hubs = {int(row.argmax()) for row in bank}
    ranks = []
    for query, row in enumerate(scores):
        if int(row.argmax()) in hubs:
            row = np.array(
                [np.exp(temperature * s) / np.exp(temperature * bank[:, v]).sum() for v, s in enumerate(row)]
            )
        ranks.append(1 + np.count_nonzero(row > row[query]))
    return np.array(ranks)


@pytest.mark.parametrize(
    ("methods", "given", "used", "origin"),
    [
        (["qb_norm"], {}, 20.0, "published default"),
        (["qb_norm"], {"temperature": 3.0}, 3.0, "as given"),
        (["qb_norm"], {"qb_temperature": 3.0}, 3.0, "as given"),
        (["dual_softmax", "qb_norm"], {"temperature": 3.0}, 20.0, "published default"),
        (["dual_softmax", "qb_norm"], {"temperature": 7.0, "qb_temperature": 3.0}, 3.0, "as given"),
    ],
)
def test_the_temperature_of_qb_norm(methods, given, used, origin) -> None:
    rng = np.random.default_rng(3)
    scores, bank = rng.normal(size=(40, 40)) / 2 + np.eye(40) / 2, rng.normal(size=(60, 40)) / 2
    summary = measure_scores(RetrievalScores(scores), query_bank=bank, options=fast(*methods, **given)).summary
    found = summary["postprocessed"]["qb_norm"]["t2v"]
    by_temperature = {t: inverted_softmax_ranks(scores, bank, t).mean() for t in (3.0, 7.0, 20.0)}
    assert found["MnR"] == pytest.approx(by_temperature[used])
    assert len({round(mean, 3) for mean in by_temperature.values()}) == 3  # so that the temperature shows
    assert f"qb_norm: temperature {used:g}, " in format_report(summary) and origin in format_report(summary)
    if "dual_softmax" in methods:
        expected = retrieval_metrics(dual_softmax(scores, given["temperature"]))["t2v"]
        assert agrees(summary["postprocessed"]["dual_softmax"]["t2v"], expected)


def test_bad_files_of_ids_and_baselines_are_refused(tmp_path, matrix) -> None:
    def refused(message: str, **options: object) -> None:
        with pytest.raises(UserError, match=message):
            measure_files(matrix, options=FAST, **options)

    (tmp_path / "words.txt").write_text("one\ntwo\n")
    (tmp_path / "dict.json").write_text("{}")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    refused("not a whole number", relevance=RelevanceFiles(str(tmp_path / "words.txt")))
    refused("JSON dict: expected a list", relevance=RelevanceFiles(str(tmp_path / "dict.json")))
    refused("UTF-8", relevance=RelevanceFiles(str(tmp_path / "binary.txt")))
    np.save(tmp_path / "square.npy", np.eye(4))
    refused(r"shape \(4, 4\), sims \(7, 4\)", relevance=RelevanceFiles("2,1,3,1"), baseline=tmp_path / "square.npy")
    with pytest.raises(UserError, match=r"cannot read scores from .*absent\.npy: No such file"):
        measure_files(tmp_path / "absent.npy")
    with pytest.raises(UserError, match=r"'x' \(row 1\) names no video"):
        relevance_from_ids(["a", "x"], ["a", "b"], (2, 2))
    with pytest.raises(UserError, match="'a' occurs twice"):
        relevance_from_ids(["a", "a"], ["a", "a"], (2, 2))
    with pytest.raises(UserError, match="1 text ids and 2 video ids for scores of 2 × 2"):
        relevance_from_ids(["a"], ["a", "b"], (2, 2))


def test_a_reranked_system_has_scores_of_its_own_for_each_direction(tmp_path) -> None:
    rng = np.random.default_rng(0)
    t2v, v2t = rng.normal(size=(2, 12, 12))
    summary = measure_scores(
        RetrievalScores(t2v, v2t_scores=v2t), options=fast("dual_softmax", temperature=5.0)
    ).summary
    assert agrees(summary["metrics"]["t2v"], retrieval_metrics(t2v)["t2v"])
    assert agrees(summary["metrics"]["v2t"], retrieval_metrics(v2t)["v2t"])
    ids = [str(row) for row in range(12)]
    save_scores(tmp_path / "both", SavedScores(t2v, ids, ids, np.arange(12), v2t))
    np.save(tmp_path / "plain.npy", t2v)
    found = measure_files(tmp_path / "both", baseline=tmp_path / "plain.npy", options=FAST).summary
    assert found["metrics"] == summary["metrics"] and agrees(found["baseline"]["metrics"], retrieval_metrics(t2v))
    turned = measure_files(tmp_path / "plain.npy", baseline=tmp_path / "both", options=FAST).summary
    assert turned["baseline"]["metrics"] == summary["metrics"]
    save_scores(tmp_path / "both", SavedScores(t2v, ids, ids, np.arange(12)))
    assert agrees(measure_files(tmp_path / "both", options=FAST).summary["metrics"], retrieval_metrics(t2v))
    dual = summary["postprocessed"]["dual_softmax"]["v2t"]
    assert agrees(dual, retrieval_metrics(dual_softmax(v2t, 5.0, "v2t"))["v2t"])


def test_a_baseline_whose_names_stand_in_another_order_is_refused(tmp_path) -> None:
    scores = np.random.default_rng(0).normal(size=(4, 4))
    names = [f"v{i}" for i in range(4)]
    order = [2, 0, 1, 3]

    def table(file: str, rows: list[int], header: list[str]) -> Path:
        lines = [",".join([names[row], *map(str, scores[row])]) for row in rows]
        (tmp_path / file).write_text("\n".join([",".join(["", *header]), *lines, ""]))
        return tmp_path / file

    run, numbers = table("run.csv", [0, 1, 2, 3], names), ["0", "1", "2", "3"]
    with_suffix = table("same.csv", [0, 1, 2, 3], [f"{name}.mp4" for name in names])
    for same in (run, with_suffix, table("numbers.csv", [0, 1, 2, 3], numbers)):
        found = measure_files(run, baseline=same, options=FAST)
        assert found.summary["baseline"]["difference"]["t2v"]["MnR"]["difference"] == 0
    with pytest.raises(UserError, match=r"turned\.csv names row 0 'v2', .*run\.csv 'v0'"):
        measure_files(run, baseline=table("turned.csv", order, names), options=FAST)
    ids = {"a": list("pqrs"), "b": list("qprs")}
    for folder, videos in ids.items():
        save_scores(tmp_path / folder, SavedScores(scores, names, videos, np.arange(4)))
    with pytest.raises(UserError, match=r"names column 0 'q', .* 'p'"):
        measure_files(tmp_path / "a", baseline=tmp_path / "b", options=FAST)


def test_a_wide_matrix_may_be_transposed(tmp_path) -> None:
    """More videos than texts is rare, and the usual cause is a matrix of videos × texts."""
    np.save(tmp_path / "turned.npy", np.zeros((3, 5)))
    with pytest.raises(UserError, match=r"3 texts × 5 videos, not square: .*--transpose if it is videos × texts"):
        measure_files(str(tmp_path / "turned.npy"))
