"""The benchmark of galleries with fake runs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import gallery

PARAMS = {"clip": {"kernel": np.zeros((4, 5))}, "head": {"scale": np.zeros(3), "layer": {"bias": np.zeros(8)}}}
pytestmark = pytest.mark.long


def test_every_run_is_encoded_and_scored_in_turn(monkeypatch, capsys, tmp_path) -> None:
    encoded = SimpleNamespace(captions=range(6), split=SimpleNamespace(video_ids=range(3)))
    calls = []
    for name, value in {
        "saved_config": lambda workdir: workdir.name,
        "open_experiment": lambda config: config,
        "saved_parameters": lambda experiment, workdir: SimpleNamespace(params=PARAMS),
        "encode_split": lambda experiment, params, split: calls.append(f"encode {experiment}") or encoded,
        "score_split": lambda experiment, params, encoded: calls.append(f"score {experiment}"),
    }.items():
        monkeypatch.setattr(gallery, name, value)
    runs = [str(tmp_path / name) for name in ("one", "two")]
    gallery.main([*runs, "--rounds=2", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["run"], row["texts"], row["videos"]) for row in rows] == [(runs[0], 6, 3), (runs[1], 6, 3)]
    assert {(row["clip_parameters"], row["head_parameters"]) for row in rows} == {(20, 11)}
    turn = ["encode one", "score one", "encode two", "score two"]
    assert calls == ["encode one", "encode two", *3 * turn]
    gallery.main([*runs, "--rounds=1"])
    assert "scoring, s" in capsys.readouterr().out
