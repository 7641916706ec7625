from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.moving_shapes_errors import as_table, count_errors, differences
from data_prep.moving_shapes.scenes import Scene

LEFT = Scene("circle", "red", "small", "left", "black")
RIGHT = dataclasses.replace(LEFT, motion="right")
UP = dataclasses.replace(LEFT, motion="up")
LARGE_BLUE = dataclasses.replace(LEFT, size="large", color="blue")
BESIDE = dataclasses.replace(LEFT, relation="beside", other_shape="star", other_color="white")


def test_a_motion_that_runs_backwards_differs_in_direction_alone() -> None:
    assert differences(LEFT, RIGHT) == ("direction",)
    assert differences(LEFT, UP) == ("motion",)
    assert differences(LEFT, LARGE_BLUE) == ("colour", "size")
    assert differences(LEFT, BESIDE) == ("second shape",)
    assert differences(LEFT, LEFT) == ()


def test_errors_are_counted_by_the_event_that_differs_least() -> None:
    clips = [[LEFT, UP], [LARGE_BLUE, RIGHT], [BESIDE, LARGE_BLUE]]
    right = [(LEFT, 0), (LEFT, 0), (BESIDE, 2)]
    scores = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.5, 0.4, 0.3]])
    found = count_errors(scores, right, clips)
    assert (found["queries"], found["errors"]) == (3, 2)
    assert found["kinds"]["direction"] == {"in": 1, "alone": 1}  # RIGHT, not the other event of that clip
    assert found["kinds"]["second shape"] == {"in": 1, "alone": 1}
    assert sum(kind["in"] for kind in found["kinds"].values()) == 2
    assert "2 of 3 first answers are wrong" in as_table(found)
