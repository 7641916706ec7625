"""Frame weights of pairs: those of a head's explanation, over real frames only."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.scoring import frame_weights as module
from eaglenet_jax.scoring.frame_weights import frame_weights
from tests.heads.heads import FRAMES, HEADS, features, head_params

EVALUATION = Draws(jax.random.key(7))
PAIRS = np.array([3, 0, 4, 1, 0]), np.array([3, 2, 1, 1, 0])


def _explained(head, params, text, video) -> np.ndarray:
    """The weights of PAIRS among those of all texts with all videos."""
    explain = jax.jit(lambda: head.apply({"params": params}, text, video, EVALUATION, method="explain"))
    return np.asarray(explain()["frame_weights"])[PAIRS]


@pytest.mark.parametrize("name", ["xpool", "tmass", "eaglenet", "eaglenet_no_graph", "shenet"])
def test_they_are_those_that_explain_the_pair(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAIRS", 2)  # so that there are several parts, and the last is not full
    head = HEADS[name]
    params, (text, video) = head_params(head), features(5)
    found = frame_weights(head, params, text, video, PAIRS, draws=EVALUATION)
    assert found is not None and found.shape == (5, FRAMES)
    np.testing.assert_allclose(found, _explained(head, params, text, video), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_padding_has_no_weight_though_the_head_does_not_mask_it() -> None:
    head = HEADS["xpool"].clone(mask_padding=False)
    params, (text, video) = head_params(head), features(5)
    found = frame_weights(head, params, text, video, PAIRS, draws=EVALUATION)
    given = _explained(head, params, text, video)
    mask = np.asarray(video.mask)[PAIRS[1]]
    assert not mask.all() and np.all(given[~mask] > 0) and not found[~mask].any()
    expected = [row[real] / row[real].sum() for row, real in zip(given, mask, strict=True)]
    for row, real, wanted in zip(found, mask, expected, strict=True):
        np.testing.assert_allclose(row[real], wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["clip4clip", "crosstvr"])
def test_a_head_that_weighs_no_frames_has_none(name: str) -> None:
    head = HEADS[name]
    assert frame_weights(head, head_params(head), *features(5), PAIRS, draws=EVALUATION) is None
