from __future__ import annotations

import numpy as np
import pytest

from benchmarks.paired_systems import as_table, compare, placements, seeds_of
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import RetrievalPlacement, place
from eaglenet_jax.runs.saved_ranks import save_ranks


def _placement(seed: int, signal: float) -> RetrievalPlacement:
    return place(np.random.default_rng(seed).normal(size=(60, 60)) + signal * np.eye(60))


def test_rows_are_compared_over_the_seeds_that_they_share() -> None:
    strong = {f"seed_{seed}": _placement(seed, 3.0) for seed in range(3)}
    weak = {f"seed_{seed}": _placement(seed + 10, 1.0) for seed in (1, 2)}
    result = compare({"strong": strong, "weak": weak}, "strong")
    assert (result["strong"]["seeds"], result["weak"]["seeds"]) == (3, 2)
    weak_row = result["weak"]["t2v R@1"]
    both = np.mean([np.mean(strong[seed].t2v.ranks() == 1) for seed in weak]) * 100
    assert weak_row["difference"] == pytest.approx(weak_row["mean"] - both)
    assert weak_row["high"] < 0 and weak_row["p"] < 0.01 and "p" not in result["strong"]["Rsum"]
    lines = as_table(result, "strong").splitlines()
    assert len(lines) == 4 and lines[3].startswith("| weak | 2 | ") and f"{weak_row['difference']:+.1f} (" in lines[3]


def test_what_cannot_be_compared_is_said(tmp_path) -> None:
    with pytest.raises(UserError, match="no seed in common"):
        compare({"a": {"seed_0": _placement(0, 1.0)}, "b": {"seed_1": _placement(1, 1.0)}}, "a")
    with pytest.raises(UserError, match="holds no ROW/seed_N"):
        seeds_of(tmp_path)


def test_saved_ranks_are_read(tmp_path) -> None:
    wanted = _placement(3, 1.0)
    save_ranks(tmp_path / "ranks.npz", {"test": wanted})
    found = placements({"row": {"seed_0": tmp_path}}, "test")["row"]["seed_0"]
    np.testing.assert_array_equal(found.t2v.ranks(), wanted.t2v.ranks())
    with pytest.raises(UserError):  # no ranks of this split, and nothing to evaluate
        placements({"row": {"seed_0": tmp_path}}, "val")
