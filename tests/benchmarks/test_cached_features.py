"""The benchmark of training on stored features, at sizes of nothing."""

from __future__ import annotations

import json

import pytest

from benchmarks import cached_features
from eaglenet_jax.errors import UserError

pytestmark = pytest.mark.long


def test_a_step_on_features_and_one_with_encoders_are_timed(capsys) -> None:
    sizes = ["--config=demo:tiny", "--systems=clip4clip", "--captions=40", "--batch=4", "--rounds=1", "--whole"]
    cached_features.main([*sizes, "--json"])
    found = json.loads(capsys.readouterr().out)
    row = found["systems"]["clip4clip"]
    # 4 × (16 numbers and 20 flags of a caption, 6 frames of 16 numbers and a flag)
    assert row["batch"] == 4 and row["bytes"] == 4 * (16 * 4 + 20 + 6 * (16 * 4 + 1))
    assert set(row["seconds"]) == {"features", "whole"} and min(row["seconds"].values()) > 0
    text = cached_features.table(
        {"xpool": {"batch": 4, "bytes": 10**6, "seconds": {"features": 0.5, "whole": 2.0}}}, 40
    )
    assert text.splitlines()[1].split() == ["xpool", "4", "1.0", "0.5000", "5.0", "20.0", "4.0"]


def test_a_system_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="'clip5clip' is none of eaglenet"):
        cached_features.main(["--systems=clip5clip"])
