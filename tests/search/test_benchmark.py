from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import search

pytestmark = pytest.mark.search


def test_the_report_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search, "DEPTHS", (0, 40))
    search.main(["--rows=3000", f"--folder={tmp_path}", "--json"])
    report = json.loads(capsys.readouterr().out)
    (store,) = report["stores"]
    assert store["exact"]["recall@100"] == 1.0 and store["indexed"]["recall@10"] > 0.5
    assert 12_288 + 2048 + search.THUMBNAIL_BYTES < store["bytes_per_row"] < 25_000
    assert set(report["rerank_ms"]) == {"0", "40"} and not list(tmp_path.iterdir())
    monkeypatch.setattr(search, "measure_store", lambda rows, folder: store)
    search.main(["--rows=3000"])
    assert "recall@10" in capsys.readouterr().out


def test_members_of_a_cluster_have_cosine_0_8(monkeypatch):
    monkeypatch.setattr(search, "CLUSTERS", 2)
    search._centres.cache_clear()
    cosines = (rows := search.members(200, seed=0)) @ rows.T
    search._centres.cache_clear()
    within = cosines[(cosines > 0.5) & ~np.eye(200, dtype=bool)]
    assert np.mean(within) == pytest.approx(0.8, abs=0.01)
