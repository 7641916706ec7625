"""Features of a whole split in host memory, encoded batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.retrieval.host import to_host
from eaglenet_jax.retrieval.scoring import Progress

Features = TypeVar("Features", TextFeatures, VideoFeatures)


def encode_all(
    encode: Callable[[dict[str, Any]], Features], batches: Iterable[Mapping[str, Any]], progress: Progress | None = None
) -> Features:
    """The features of all batches in host memory, in order, without padding rows.

    encode(batch) → TextFeatures or VideoFeatures of the batch's rows, on the device. A batch may hold "valid" [B] bool,
    False for rows that only fill it up; encode does not see it. With several processes, batches are global arrays and
    every process gets all features. progress(rows so far, batches so far). One batch is encoded while the one before is
    copied. Raises UserError if no row is valid.
    """
    parts: list[Any] = []
    rows = 0

    def keep(features: Any, valid: Any) -> None:
        nonlocal rows
        features = to_host(features)
        if valid is not None:
            real = to_host(valid).astype(bool)
            features = jax.tree.map(lambda leaf: leaf[real], features)
        parts.append(features)
        rows += len(features.id)
        if progress is not None:
            progress(rows, len(parts))

    waiting: tuple[Any, Any] | None = None
    for batch in batches:
        ahead = encode({name: value for name, value in batch.items() if name != "valid"}), batch.get("valid")
        if waiting is not None:
            keep(*waiting)
        waiting = ahead
    if waiting is not None:
        keep(*waiting)
    if not rows:
        raise UserError("nothing to encode: the split has no examples")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
