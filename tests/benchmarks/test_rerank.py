"""The rerank benchmark with a fake run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import rerank
from tests.scoring.fake_heads import Cosine, gallery

pytestmark = pytest.mark.long


def test_reports_on_the_gallery_of_a_run(monkeypatch, capsys, tmp_path) -> None:
    texts, videos = gallery(8, 8)
    evaluation = SimpleNamespace(encoded=SimpleNamespace(texts=texts, videos=videos, text_video=np.arange(8)))
    config = SimpleNamespace(ema_decay=0.0, evaluation=SimpleNamespace(seed=0, noise="per_text"))
    experiment = SimpleNamespace(system=SimpleNamespace(head=Cosine()), config=config)
    for name, value in {
        "load_checkpoint": lambda path: SimpleNamespace(config=config, params={"head": {}}),
        "open_experiment": lambda config: experiment,
        "evaluate_split": lambda experiment, params, split: evaluation,
    }.items():
        monkeypatch.setattr(rerank, name, value)
    rerank.main([f"--workdir={tmp_path}", "--top_k=2,8", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [row["top_k"] for row in report["rerank"]] == [2, 8]
    assert report["rerank"][1]["R@1"] == report["full"]["R@1"]
    rerank.main([f"--workdir={tmp_path}", "--top_k=2"])
    assert "rerank, top 2" in capsys.readouterr().out
