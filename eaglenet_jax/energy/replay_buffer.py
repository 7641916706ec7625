"""Replay buffer of the Langevin sampler: ends of earlier chains, where new ones start (docs/systems.md section 2.6)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from eaglenet_jax.draws import Draws

STARTS = ("ours", "released", "paper")


@struct.dataclass
class ReplayBuffer:
    """Ends of earlier chains, newest first.

    Attributes:
        text: [N, d].
        video: [N, M, d].
        valid_rows: int32, number of rows that were pushed; the rest are zeros.
        calls: int32, number of sampler calls.
    """

    text: Array
    video: Array
    valid_rows: Array
    calls: Array


def empty_buffer(rows: int, frames: int, width: int) -> ReplayBuffer:
    """Create a buffer of zeros with nothing pushed yet.

    Args:
        rows: N.
        frames: M.
        width: d.
    """
    return ReplayBuffer(
        text=jnp.zeros((rows, width)),
        video=jnp.zeros((rows, frames, width)),
        valid_rows=jnp.zeros((), jnp.int32),
        calls=jnp.zeros((), jnp.int32),
    )


def push(buffer: ReplayBuffer, text: Float[Array, "B d"], video: Float[Array, "B M d"]) -> ReplayBuffer:
    """Put new samples in front of the buffer and drop the oldest rows."""
    rows = buffer.text.shape[0]
    return ReplayBuffer(
        text=jnp.concatenate([text.astype(buffer.text.dtype), buffer.text])[:rows],
        video=jnp.concatenate([video.astype(buffer.video.dtype), buffer.video])[:rows],
        valid_rows=jnp.minimum(buffer.valid_rows + text.shape[0], rows),
        calls=buffer.calls + 1,
    )


def start_chains(
    buffer: ReplayBuffer, count: int, draws: Draws, *, rule: str, probability: float = 0.95
) -> tuple[Float[Array, "count d"], Float[Array, "count M d"]]:
    """Choose where chains start.

    Args:
        buffer: The replay buffer.
        count: Number of chains.
        draws: Source of random numbers.
        rule: "released": the first int(probability · count) chains take distinct random rows, pushed or not, the same
            rows for text and video; the rest are U[0, 1); the very first call draws all from U[−1, 1). "ours": the
            same, but only pushed rows are taken; chains without one are U[0, 1), as are all of the first call. "paper":
            each chain independently, text and video separately, takes a pushed row with `probability`, else U[0, 1).
        probability: Share of the chains, or probability of a chain, that starts from the buffer.

    Returns:
        Starts (texts, videos).

    Raises:
        ValueError: The rule is unknown.
    """
    if rule not in STARTS:
        raise ValueError(f"chain start {rule!r} is none of {', '.join(STARTS)}")
    chain = jnp.arange(count, dtype=jnp.uint32)
    fresh_text = draws.uniform("fresh_text", (chain,), buffer.text.shape[1:])
    fresh_video = draws.uniform("fresh_video", (chain,), buffer.video.shape[1:])
    if rule == "paper":
        take_text, row_text = _independent_rows(buffer, chain, draws, "text", probability)
        take_video, row_video = _independent_rows(buffer, chain, draws, "video", probability)
    else:
        take_text, row_text = _distinct_rows(buffer, count, draws, rule, probability)
        take_video, row_video = take_text, row_text
    if rule == "released":
        first = buffer.calls == 0
        take_text = take_video = take_text & ~first
        fresh_text = jnp.where(first, 2 * fresh_text - 1, fresh_text)
        fresh_video = jnp.where(first, 2 * fresh_video - 1, fresh_video)
    text = jnp.where(take_text[:, None], buffer.text[row_text], fresh_text)
    video = jnp.where(take_video[:, None, None], buffer.video[row_video], fresh_video)
    return text, video


def _distinct_rows(
    buffer: ReplayBuffer, count: int, draws: Draws, rule: str, probability: float
) -> tuple[Bool[Array, " count"], Array]:
    """Return whether each chain takes a row, and which: a random order of rows, in "ours" pushed ones first."""
    rows = buffer.text.shape[0]
    order = draws.permutation("buffer_rows", rows)
    available = jnp.asarray(rows)
    if rule == "ours":
        order = order[jnp.argsort(order >= buffer.valid_rows, stable=True)]
        available = buffer.valid_rows
    chain = jnp.arange(count)
    return (chain < int(probability * count)) & (chain < available), order[jnp.minimum(chain, rows - 1)]


def _independent_rows(
    buffer: ReplayBuffer, chain: Array, draws: Draws, part: str, probability: float
) -> tuple[Bool[Array, " count"], Array]:
    """Return whether each chain takes a row, and which, drawn independently."""
    take = draws.uniform(f"take_{part}", (chain,), ()) < probability
    row = jnp.floor(draws.uniform(f"row_{part}", (chain,), ()) * buffer.valid_rows).astype(jnp.int32)
    return take & (buffer.valid_rows > 0), jnp.clip(row, 0, buffer.text.shape[0] - 1)
