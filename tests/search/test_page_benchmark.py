from __future__ import annotations

import json

import pytest

from benchmarks import page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_report_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(page, "PLAYED", 100)
    page.main(["--videos=2", "--seconds=1", "--height=90", f"--folder={tmp_path / 'new'}", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["windows"] == 2 and 0 < report["preview_bytes"] <= 4000 and not list((tmp_path / "new").iterdir())
    for name in ("stored", "decoded"):
        assert 0 < report[name]["first_preview_s"] <= report[name]["all_pictures_s"]
    assert all(found["longest_gap"] >= found["median_gap"] > 0 for found in report["page_ms"].values())
    assert "each opened and played: longest task" in page.as_text(report)
