from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import moments, search
from benchmarks.moments import Query, overlap
from eaglenet_jax.search.moments import Moment

pytestmark = pytest.mark.search


def test_the_report_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search, "DEPTHS", (0, 40))
    search.main(["--rows=3000", f"--folder={tmp_path / 'new'}", "--json"])
    report = json.loads(capsys.readouterr().out)
    (store,) = report["stores"]
    assert store["exact"]["recall@100"] == 1.0 and store["indexed"]["recall@10"] > 0.5
    assert 12_288 + 2048 + search.THUMBNAIL_BYTES < store["bytes_per_row"] < 25_000
    assert set(report["rerank_ms"]) == {"0", "40"} and not list((tmp_path / "new").iterdir())
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


def test_moments_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(moments, "COUNTS", (2,))
    monkeypatch.setattr(moments, "FILM_SECONDS", 14.0)
    moments.main(["--clips=4", "--films=1", f"--folder={tmp_path / 'new'}", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["clips"]["queries"] == report["clips"]["windows"] == 4 and report["films"]["queries"] >= 3
    for place in ("clips", "films"):
        for kind, recall in report[place]["head"].items():
            assert recall["R@1 at 0.7"] <= recall["R@1 at 0.5"] <= recall["R@5 at 0.5"] <= 100, kind
    assert "moments" in moments.as_text(report) and not list((tmp_path / "new").iterdir())


def test_overlap_is_intersection_over_union():
    query = Query("a", "a.mp4", 2.0, 4.0)
    place = {name: Moment(1, 0.0, False, "", f"/v/{name}", 3.0, 6.0, b"") for name in ("a.mp4", "b.mp4")}
    assert overlap(query, place["a.mp4"]) == 0.25 and overlap(query, place["b.mp4"]) == 0.0
    assert overlap(Query("a", "a.mp4", 7.0, 8.0), place["a.mp4"]) == 0.0
