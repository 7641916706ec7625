from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip.token_shift import shifted_tokens, token_shift


def slow_token_shift(x: np.ndarray, lengths: list[int]) -> np.ndarray:
    """docs/systems.md section 1, token by token. Frames from lengths[b] on take no part."""
    shifted = x.copy()
    tokens = x.shape[2]
    fold = tokens // 7
    for b, length in enumerate(lengths):
        for m in range(length):
            for token in range(1, tokens, fold):
                shifted[b, m, token] = x[b, max(m - 1, 0), token]
            for token in range(4, tokens, fold):
                if m + 1 < length:
                    shifted[b, m, token] = x[b, m + 1, token]
    return shifted


@pytest.mark.parametrize("tokens", [7, 8, 13, 14, 17, 21, 37, 50])  # folds 1 (all overlap), 2, 3 (overlap), 5, 7
@pytest.mark.parametrize("lengths", [[5, 5], [3, 1]])
def test_shift_is_the_written_rule(tokens, lengths):
    x = np.random.default_rng(tokens).normal(size=(2, 5, tokens, 3)).astype(np.float32)
    mask = np.arange(5) < np.array(lengths)[:, None]
    shifted = np.asarray(token_shift(jnp.asarray(x), jnp.asarray(mask)))
    expected = slow_token_shift(x, lengths)
    np.testing.assert_array_equal(shifted[mask], expected[mask])


def test_class_token_stays_and_next_frame_wins_where_there_is_one():
    from_previous, from_next = shifted_tokens(7)  # fold 1: both sets hold every token from the fourth on
    assert from_previous.tolist() == [False, True, True, True, True, True, True]
    assert from_next.tolist() == [False, False, False, False, True, True, True]
    x = jnp.arange(3.0)[None, :, None, None] * jnp.ones((1, 1, 7, 1))
    frames = token_shift(x, jnp.ones((1, 3), bool))[0, :, :, 0]
    assert frames.tolist() == [[0, 0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 2, 2, 2], [2, 1, 1, 1, 1, 1, 1]]


def test_b32_moves_the_tokens_of_the_released_program():
    from_previous, from_next = shifted_tokens(50)
    assert np.flatnonzero(from_previous).tolist() == [1, 8, 15, 22, 29, 36, 43]
    assert np.flatnonzero(from_next).tolist() == [4, 11, 18, 25, 32, 39, 46]


def test_too_few_tokens_is_an_error():
    with pytest.raises(ValueError, match="at least 7 tokens a frame, got 6"):
        shifted_tokens(6)
