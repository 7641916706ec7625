"""Every kind of leak is caught; heads without one pass."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.scoring.leak import check_leak, leak_report, rows_of_gallery
from tests.scoring.fake_heads import Leaky, NoisyAttention, gallery, initialised

SIMILARITY = np.random.default_rng(0).normal(size=(20, 12))


@pytest.mark.parametrize("noise", ["per_text", "per_pair"])
def test_a_head_whose_noise_belongs_to_ids_passes(noise) -> None:
    head = NoisyAttention()
    draws = Draws(jax.random.key(0), noise=noise)
    findings = check_leak(rows_of_gallery(head, initialised(head), *gallery(20, 12), draws=draws), 20, 12)
    assert all(finding.ok for finding in findings)
    assert "no leak" in leak_report(findings)


def test_a_head_that_looks_at_the_other_captions_is_caught() -> None:
    head = Leaky()
    draws = Draws(jax.random.key(0))
    findings = check_leak(rows_of_gallery(head, initialised(head), *gallery(20, 12), draws=draws), 20, 12)
    caught = {finding.change for finding in findings if not finding.ok}
    assert "half of the captions dropped" in caught
    assert "LEAK" in leak_report(findings) and "CHANGED at text" in leak_report(findings)


def same_position_gets_a_bonus(text_rows, video_rows):
    """Leak of a head that pools a video with the caption of its own row."""
    scores = SIMILARITY[np.ix_(text_rows, video_rows)].copy()
    np.fill_diagonal(scores, scores.diagonal() + 1)
    return scores


def noise_by_position(text_rows, video_rows):
    rng = np.random.default_rng(1)
    return SIMILARITY[np.ix_(text_rows, video_rows)] + 0.1 * rng.normal(size=(len(text_rows), len(video_rows)))


def centred_over_videos(text_rows, video_rows):
    scores = SIMILARITY[np.ix_(text_rows, video_rows)]
    return scores - scores.mean(axis=1, keepdims=True)


def not_a_number_when_small(text_rows, video_rows):
    return SIMILARITY[np.ix_(text_rows, video_rows)] + (np.nan if len(text_rows) < 20 else 0.0)


@pytest.mark.parametrize(
    "leaky", [same_position_gets_a_bonus, noise_by_position, centred_over_videos, not_a_number_when_small]
)
def test_other_leaks_are_caught(leaky) -> None:
    assert not all(finding.ok for finding in check_leak(leaky, 20, 12))


def test_a_fixed_matrix_passes_and_the_worst_pair_is_named() -> None:
    assert all(f.difference == 0 for f in check_leak(lambda t, v: SIMILARITY[np.ix_(t, v)], 20, 12))

    def one_pair_moves(text_rows, video_rows):
        scores = SIMILARITY[np.ix_(text_rows, video_rows)].copy()
        scores[(text_rows == 3)[:, None] & (video_rows == 5)] += 0.5 * (text_rows[0] != 0)
        return scores

    findings = [finding for finding in check_leak(one_pair_moves, 20, 12) if not finding.ok]
    assert findings and all((f.text, f.video) == (3, 5) for f in findings)
    assert findings[0].difference == pytest.approx(0.5)


def test_refuses_a_tiny_gallery_and_wrong_shapes() -> None:
    with pytest.raises(UserError, match="at least 4 texts and 2 videos"):
        check_leak(same_position_gets_a_bonus, 3, 2)
    with pytest.raises(UserError, match="have shape"):
        check_leak(lambda t, v: SIMILARITY, 20, 5)
