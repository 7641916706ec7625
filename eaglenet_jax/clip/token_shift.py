"""TS2-Net's token shift (docs/systems.md section 1): some patches come from the previous or next frame."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from eaglenet_jax.clip.config import SHIFT_STRIDE


def shifted_tokens(tokens: int) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Return which tokens of a frame (class token first) take the value of the previous and of the next frame.

    With fold = tokens // 7: indices 1, 1 + fold, … take the previous frame's value, 4, 4 + fold, … the next frame's.
    Where both lists hold an index, the next frame wins where there is one.

    Args:
        tokens: T, tokens of a frame.

    Returns:
        Masks (from previous, from next).

    Raises:
        ValueError: There are fewer than 7 tokens.
    """
    fold = tokens // SHIFT_STRIDE
    if fold == 0:
        raise ValueError(f"token shift needs at least {SHIFT_STRIDE} tokens a frame, got {tokens}")
    from_previous, from_next = np.zeros(tokens, bool), np.zeros(tokens, bool)
    from_previous[1::fold] = True
    from_next[4::fold] = True
    return from_previous, from_next


def token_shift(x: Float[Array, "B M T w"], frame_mask: Bool[Array, "B M"]) -> Float[Array, "B M T w"]:
    """Shift tokens along time. The class token and tokens without a valid neighbour frame keep their own value.

    In the last valid frame a token of both lists takes the previous frame's value.

    Args:
        x: Token states by frame.
        frame_mask: False at frames that take no part; padding comes after the valid frames.
    """
    from_previous, from_next = shifted_tokens(x.shape[2])
    edge = jnp.zeros_like(x[:, :1])
    no_frame = jnp.zeros_like(frame_mask[:, :1])
    previous = jnp.concatenate([edge, x[:, :-1]], axis=1)
    following = jnp.concatenate([x[:, 1:], edge], axis=1)
    has_previous = jnp.concatenate([no_frame, frame_mask[:, :-1]], axis=1)
    has_next = jnp.concatenate([frame_mask[:, 1:], no_frame], axis=1)
    x = jnp.where((has_previous[:, :, None] & from_previous)[..., None], previous, x)
    return jnp.where((has_next[:, :, None] & from_next)[..., None], following, x)
