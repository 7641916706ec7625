"""Lengths of radii of pairs that belong together and of others."""

from __future__ import annotations

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.layers.stochastic_text import frame_similarities
from eaglenet_jax.scoring import radius as module
from eaglenet_jax.scoring.radius import radius_lengths
from tests.heads.heads import HEADS, features, head_params

EVALUATION = Draws(jax.random.key(7))


def test_lengths_are_of_the_radius_by_its_equation(monkeypatch) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", 2)
    head, (text, video) = HEADS["tmass"], features(5)
    params = head_params(head)
    text_video = np.array([1, 0, 2, 2, 4])  # nobody describes video 3
    found = radius_lengths(head, params, text, video, text_video, draws=EVALUATION)
    assert found is not None
    own, other = found
    similarities = np.asarray(jax.jit(frame_similarities)(text.pooled, video.frames, video.mask))
    exponent = similarities @ np.asarray(params["radius"]["linear"]["kernel"]) + np.asarray(
        params["radius"]["linear"]["bias"]
    )
    lengths = np.exp(exponent).sum(axis=-1)
    kept = lengths[:, [0, 1, 2, 4]]
    belongs = np.array([0, 1, 2, 4])[None] == text_video[:, None]
    np.testing.assert_allclose(np.sort(own), np.sort(kept[belongs]), rtol=1e-5)
    np.testing.assert_allclose(np.sort(other), np.sort(kept[~belongs]), rtol=1e-5)


def test_a_head_without_radii_and_pairs_of_one_kind_have_none() -> None:
    text, video = features(2)
    head = HEADS["xpool"]
    assert radius_lengths(head, head_params(head), text, video, np.arange(2), draws=EVALUATION) is None
    head = HEADS["tmass"]
    alone = np.zeros(2, int)  # one video, which all texts describe
    assert radius_lengths(head, head_params(head), text, video, alone, draws=EVALUATION) is None
