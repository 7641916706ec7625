"""Tables of plain text: aligned, narrow, with the numbers of the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.metrics.ranks import chance_metrics, retrieval_metrics
from eaglenet_jax.reports.score_text import results_table, small_gallery_line


def test_table_is_aligned_narrow_and_holds_the_numbers() -> None:
    rng = np.random.default_rng(0)
    weak, strong = (retrieval_metrics(rng.normal(size=(200, 200)) + skill * np.eye(200)) for skill in (1, 4))
    rows = [("chance", chance_metrics((200, 200))), ("CLIP4Clip", weak)]
    table = results_table([*rows, ("EagleNet, dual softmax (transductive)", strong)])
    lines = table.split("\n")
    assert max(map(len, lines)) <= 100
    assert lines[1].split() == [*(["R@1", "R@5", "R@10", "MdR", "MnR"] * 2), "Rsum"]
    full = [line for line in lines[3:] if len(line) > 40]
    assert len({len(line) for line in full}) == 1 and len(full) == 3
    assert full[0].split() == [
        "chance",
        "0.5",
        "2.5",
        "5.0",
        "100.5",
        "100.5",
        "0.5",
        "2.5",
        "5.0",
        "100.5",
        "100.5",
        "16.0",
    ]
    numbers = [float(x) for x in full[2].split()[-11:]]
    expected = [strong[side][name] for side in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    assert numbers == pytest.approx([*expected, strong["Rsum"]], abs=0.051)


def test_a_gallery_whose_ranks_by_chance_are_100_keeps_them() -> None:
    rows = [("chance", chance_metrics((199, 199))), ("scores", retrieval_metrics(np.eye(199)))]
    chance, scores = results_table(rows).split("\n")[3:]
    assert "–" not in chance + scores and chance.split()[4:6] == ["100.0", "100.0"] and scores.split()[-1] == "600.0"
    assert not small_gallery_line(rows)


def test_numbers_of_a_large_gallery_keep_their_columns_apart() -> None:
    metrics = chance_metrics((99999, 99999))
    assert all(len(line.split()) == 12 for line in results_table([("chance", metrics)]).split("\n")[3:])
