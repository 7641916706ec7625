"""Words that depend on a number."""

from __future__ import annotations

import pytest

from eaglenet_jax.wording import counted, spoken_time


def test_a_noun_follows_its_number() -> None:
    assert [counted(number, "video") for number in (0, 1, 1200)] == ["0 videos", "1 video", "1,200 videos"]
    assert counted(2, "video is", "videos are") == "2 videos are"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (14400, "4 h 0 min"),
        (47 * 3600, "47 h 0 min"),
        (48 * 3600, "2 days"),
    ],
)
def test_a_duration_has_the_units_that_fit_its_length(seconds: float, words: str) -> None:
    assert spoken_time(seconds) == words
