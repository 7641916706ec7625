"""32-bit ids of captions, videos and free queries.

Noise and dropout masks are keyed by these numbers (draws.py), so they must not depend on the order of a dataset, on the
process or on the machine. Two different ids that collide in 32 bits share their noise and nothing else.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from eaglenet_jax.errors import UserError


def _first_32_bits(content: bytes) -> np.uint32:
    return np.uint32(int.from_bytes(hashlib.blake2b(content).digest()[:4], "little"))


def example_id(dataset_id: str) -> np.uint32:
    """Return the id of a caption or video: the first 32 bits (little endian) of BLAKE2b of its dataset id in UTF-8."""
    return _first_32_bits(dataset_id.encode())


def example_ids(dataset_ids: Iterable[str]) -> np.ndarray:
    """Return the ids of several captions or videos, [N] uint32 in the given order.

    Raises:
        UserError: A dataset id occurs twice.
    """
    dataset_ids = list(dataset_ids)
    repeated = [name for name, count in Counter(dataset_ids).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:3]) + (", …" if len(repeated) > 3 else "")
        raise UserError(
            f"{len(repeated)} ids occur more than once ({shown}); give every caption and every video its own id"
        )
    return np.array([example_id(name) for name in dataset_ids], np.uint32)


def token_id(tokens: np.ndarray) -> np.uint32:
    """Return the id of a free query: as `example_id`, of its token codes as little-endian int32, without padding.

    Args:
        tokens: Codes [L] of one query; those after the end token (the largest) are left out.

    Raises:
        ValueError: `tokens` is empty or not one-dimensional.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.size == 0:
        raise ValueError(f"token_id takes the codes of one query, [L]; got shape {tokens.shape}")
    return _first_32_bits(tokens[: int(tokens.argmax()) + 1].astype("<i4").tobytes())
