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
from eaglenet_jax.runs.page import measure_stage
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
    assert "5 texts have no right video" in capsys.readouterr().out
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
        (
            ["--similarity=sims.npy", "--captions-per-video=2", "--report=r.html", "--captions=videos.txt"],
            "20 captions",
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
