"""Ranks in files: what was written comes back, and a file that is none is named."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import place, placement_metrics
from eaglenet_jax.runs.saved_ranks import load_ranks, save_ranks


def test_ranks_come_back_as_they_were(tmp_path) -> None:
    rng = np.random.default_rng(0)
    placements = {
        split: place(rng.normal(size=(9, 6)).round(1), np.array([0, 0, 1, 2, 2, 2, 4, 5, 5]))
        for split in ("val", "test")
    }
    save_ranks(tmp_path / "ranks.npz", placements)
    found = load_ranks(tmp_path / "ranks.npz")
    assert list(found) == ["val", "test"]
    for split, placement in placements.items():
        assert placement_metrics(found[split]) == placement_metrics(placement)
        np.testing.assert_array_equal(found[split].text_video, placement.text_video)
        np.testing.assert_array_equal(found[split].videos, [0, 1, 2, 4, 5])
    assert load_ranks(tmp_path / "absent.npz") == {}


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_a_damaged_file_is_named(tmp_path, keep) -> None:
    file = tmp_path / "ranks.npz"
    save_ranks(file, {"test": place(np.eye(4))})
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"ranks\.npz is damaged"):
        load_ranks(file)


def test_a_changed_byte_is_no_other_error(tmp_path) -> None:
    file = tmp_path / "ranks.npz"
    save_ranks(file, {"test": place(np.eye(4))})
    whole, errors = file.read_bytes(), 0
    for position in range(0, len(whole), 3):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            load_ranks(file)
        except UserError:
            errors += 1
    assert errors > len(whole) / 12  # many bytes of a zip file are of no account
