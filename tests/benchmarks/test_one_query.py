"""The benchmark of one query, at a tiny size."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from benchmarks import one_query
from eaglenet_jax.scoring.both_directions import score_both_ways
from tests.heads.test_crosstvr import CROSSTVR, features, random_params

pytestmark = pytest.mark.long


def test_every_part_is_timed(capsys):
    one_query.main(["--tiny", "--rounds=1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in found["rows"]] == ["clip4clip", "crosstvr", "crosstvr_shared"]
    for row in found["rows"]:
        assert min(row["encode_seconds"], row["search_seconds"]) > 0
        assert abs(row["seconds"] - row["encode_seconds"] - row["search_seconds"]) < 1e-9


def test_the_row_of_table_10_shares_the_vision_encoder_of_its_first_stage(capsys):
    assert "crosstvr_ts2net_shared" in one_query.SYSTEMS.split(",")
    one_query.main(["--tiny", "--rounds=1", "--json", "--systems=crosstvr_ts2net_shared"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["system"] == "crosstvr_ts2net_shared" and min(row["encode_seconds"], row["search_seconds"]) > 0


def test_the_ranking_is_that_of_an_evaluation():
    text, video = features(5)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), random_params(CROSSTVR))
    one = jax.tree.map(lambda leaf: leaf[2:3], text)
    order = one_query.ranked(CROSSTVR, params, one, video)
    expected = score_both_ways(CROSSTVR, params, text, video, draws=one_query.draws()).t2v[2]
    np.testing.assert_array_equal(order, np.argsort(-expected))
