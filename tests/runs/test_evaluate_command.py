"""`evaluate` on a score matrix of any program: no config, no checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eaglenet_jax import evaluate
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.metrics.saved_scores import SavedScores, save_scores
from eaglenet_jax.runs.page import baseline_scores, measure_stage
from tests.metrics.agreement import agrees


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "sims.npy", np.round(rng.normal(size=(40, 20)) + np.repeat(np.eye(20), 2, axis=0), 1))
    np.save(tmp_path / "other.npy", rng.normal(size=(40, 20)))
    np.save(tmp_path / "bank.npy", rng.normal(size=(30, 20)))
    (tmp_path / "texts.txt").write_text("\n".join(f"v{i // 2}#{i % 2}" for i in range(40)))
    (tmp_path / "videos.txt").write_text("\n".join(f"v{i}" for i in range(20)))
    return tmp_path


def test_a_matrix_is_measured_with_everything_beside_it(files, capsys):
    arguments = [f"--similarity={files / 'sims.npy'}", "--captions-per-video=2", f"--baseline={files / 'other.npy'}"]
    arguments += ["--postprocess=dual_softmax", "--postprocess=qb_norm", f"--query-bank={files / 'bank.npy'}"]
    assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    for words in ("chance", "sims", "other", "+ dual_softmax", "(transductive)", "+ qb_norm", "95 % intervals"):
        assert words in printed
    for words in ("ties optimistic", "as released", "paired by query"):
        assert words in printed
    assert evaluate.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = retrieval_metrics(np.load(files / "sims.npy"), np.repeat(np.arange(20), 2))
    assert agrees(report["metrics"], expected)
    ids = [f"--text-ids={files / 'texts.txt'}", f"--video-ids={files / 'videos.txt'}"]
    assert evaluate.main([arguments[0], *ids, "--json"]) == 0
    assert agrees(json.loads(capsys.readouterr().out)["metrics"], expected)


def test_captions_of_a_report_may_be_those_of_all_texts(files, capsys):
    """Texts without a right video are left out of the scores, and of the captions with them."""
    (files / "pairs.txt").write_text("".join(f"{row} {row // 2}\n" for row in range(5, 40)))
    (files / "captions.txt").write_text("".join(f"caption number {row}\n" for row in range(40)))
    page = files / "page.html"
    arguments = [f"--similarity={files / 'sims.npy'}", f"--relevance={files / 'pairs.txt'}"]
    assert evaluate.main([*arguments, f"--captions={files / 'captions.txt'}", f"--report={page}"]) == 0
    shown = page.read_text()
    assert "5 texts without a right video" in capsys.readouterr().out
    assert "caption number 39" in shown and "caption number 4<" not in shown


def test_captions_that_videos_of_a_run_share_are_right_for_each() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [0.0, 5.0, 1.0], [4.0, 1.0, 0.0]])
    captions = SimpleNamespace(texts=["a man sings", "a dog", "a  Man sings"])
    encoded = SimpleNamespace(captions=captions, text_video=np.arange(3))
    found = {"scores": scores, "encoded": encoded, "v2t_scores": None, "missing": (0, 0)}
    evaluation = SimpleNamespace(**found, metrics={"t2v": {}, "v2t": {}})
    settings = SimpleNamespace(config=SimpleNamespace(evaluation=SimpleNamespace(ties="mean")))
    result = SimpleNamespace(name="run", system="xpool")
    stage = SimpleNamespace(evaluation=evaluation, experiment=settings, result=result)
    ranks = [measure_stage(stage, share_captions=shared).placement.t2v.ranks().tolist() for shared in (False, True)]
    # Texts 0 and 2 are right for videos 0 and 2: text 0 finds video 2 behind video 1, text 2 finds video 0 first.
    assert ranks == [[3.0, 1.0, 3.0], [2.0, 1.0, 1.0]]


def table_of(scores: np.ndarray, rows: list[str], columns: list[str]) -> str:
    """A CSV with names in its first row and column."""
    lines = [",".join((name, *map(str, row))) for name, row in zip(rows, scores.tolist(), strict=True)]
    return "\n".join([",".join(("", *columns)), *lines])


def test_a_baseline_file_is_compared_with_a_run_by_its_names(tmp_path: Path) -> None:
    """A run of five captions and three videos; files with the rows and columns in other orders, and of other names."""
    scores, owners = np.random.default_rng(0).normal(size=(5, 3)).round(3), np.array([0, 0, 1, 2, 2])
    texts, videos = [f"video{v}#{i}" for i, v in enumerate(owners)], ["video0", "video1", "video2"]
    encoded = SimpleNamespace(
        captions=SimpleNamespace(ids=texts), split=SimpleNamespace(video_ids=videos), text_video=owners
    )
    stage = SimpleNamespace(evaluation=SimpleNamespace(encoded=encoded))
    rows, columns = np.array([4, 1, 0, 3, 2]), np.array([2, 0, 1])
    moved, file = scores[rows][:, columns], tmp_path / "theirs.csv"

    def read(content: str) -> np.ndarray:
        file.write_text(content)
        found = baseline_scores(file, stage)
        assert found.name == "theirs" and found.scores.text_video.tolist() == owners.tolist()
        return found.scores.scores

    there = [texts[i] for i in rows], [f"{videos[i]}.mp4" for i in columns]
    np.testing.assert_array_equal(read(table_of(moved, *there)), scores)
    of_videos = [videos[v] for v in owners]
    np.testing.assert_array_equal(read(table_of(scores[:, columns], of_videos, there[1])), scores)
    counted = [str(i) for i in range(5)], [str(i) for i in range(3)]
    np.testing.assert_array_equal(read(table_of(scores, *counted)), scores)
    save_scores(tmp_path / "saved", SavedScores(moved, there[0], [videos[i] for i in columns], owners, 2 * moved))
    saved = baseline_scores(tmp_path / "saved", stage).scores
    np.testing.assert_array_equal([saved.scores, saved.v2t_scores], [scores, 2 * scores])
    save_scores(tmp_path / "saved", SavedScores(scores, *counted, owners))
    for content, message in (
        (None, r"saved: row 0 is named '0', which is the id of no caption and no video"),
        (table_of(scores, ["other", *texts[1:]], videos), "row 0 is named 'other', which is the id of no caption"),
        (table_of(scores, texts, ["video0", "video1", "video9"]), "no column is named 'video2'"),
        (table_of(scores, texts, ["video0", "video1", "video1"]), "video id 'video1' occurs twice"),
        (
            table_of(moved, [of_videos[i] for i in rows], videos),
            "row 0 is named 'video2', the run's text 0 is 'video0#0",
        ),
        (table_of(scores.T, videos, texts), "has 3 rows and 5 columns for 5 texts and 3 videos: write it texts"),
    ):
        if content is not None:
            file.write_text(content)
        with pytest.raises(UserError, match=message) as caught:
            baseline_scores(tmp_path / "saved" if content is None else file, stage)
        assert "\n" not in str(caught.value) and str(caught.value).startswith("--baseline=")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --workdir --checkpoint --similarity is required"),
        (["--similarity=sims.npy", "--split=val"], "--split cannot be used with --similarity"),
        (["--workdir=run", "--captions=texts.txt"], "--captions is used only with --similarity"),
        (["--workdir=run", "--config=demo"], "--config and --checkpoint go together"),
        (["--checkpoint=run"], "--config and --checkpoint go together"),
        (["--workdir=run", "--config.batch_size=3"], "--config.batch_size=3 goes with --checkpoint"),
        (["--workdir=run", "--from=hf"], "--from goes with --checkpoint"),
        (["--workdir=run", "--noise-seeds=0"], "give 1 or more"),
        (["--workdir=run", "--report=."], "--report=. is a folder; give the page a name, as ./report.html"),
        (["--similarity=sims.npy", "--captions-per-video=2", "--report=."], "is a folder; give the page a name"),
        (
            ["--similarity=sims.npy", "--captions-per-video=2", "--report=r.html", "--captions=videos.txt"],
            "videos.txt has 20 rows for scores of 40 texts; give one for each",
        ),
        (["--similarity=sims.npy", "--workdir=run"], "not allowed with argument"),
        (["--workdir=run", "--check-leak", "--save=x"], "--check-leak and --save are two evaluations"),
        (["--similarity=sims.npy"], "40 texts × 20 videos, not square"),
        (["--similarity=none.npy"], "cannot read scores from"),
        (["--similarity=texts.txt"], "is not a .npy file"),
        (["--similarity=sims.npy", "--captions-per-video=3"], "they sum to 60"),
        (["--similarity=sims.npy", "--captions-per-video=2", "--postprocess=qb_norm"], "needs a query bank"),
        (["--similarity=sims.npy", "--captions-per-video=2", "--baseline=bank.npy"], "compare the same queries"),
    ],
)
def test_what_does_not_fit_is_one_line(files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    with pytest.raises(UserError, match=message) as caught:
        evaluate.main(arguments)
    assert "\n" not in str(caught.value)
