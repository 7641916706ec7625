"""Features of a whole split in host memory, encoded batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.scoring.gallery import Progress
from eaglenet_jax.scoring.host import to_host

Features = TypeVar("Features", TextFeatures, VideoFeatures)


@runtime_checkable
class Encoders(Protocol):
    """What encoding needs of a system (`eaglenet_jax.system.System`): its two encoders, hashable as a whole."""

    def __hash__(self) -> int: ...

    def encode_text(self, params: Any, text_id: Any, tokens: Any, *extra: Any) -> TextFeatures: ...

    def encode_video(self, params: Any, video_id: Any, frames: Any, frame_mask: Any, *extra: Any) -> VideoFeatures: ...


@functools.lru_cache(maxsize=8)
def make_encode_text(system: Encoders) -> Callable[[Any, Mapping[str, Any]], TextFeatures]:
    """encode(params, batch) → features of captions, jitted. The same system gives the same function.

    batch: "text_id" [B] uint32, "tokens" [B, L] int32, perhaps "text_extra" for `TextFeatures.extra`.
    """

    def encode(params: Any, batch: Mapping[str, Any]) -> TextFeatures:
        return system.encode_text(params, batch["text_id"], batch["tokens"], *_given(batch, "text_extra"))

    return jax.jit(encode)


def _given(batch: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return (batch[name],) if name in batch else ()


@functools.lru_cache(maxsize=8)
def make_encode_video(system: Encoders) -> Callable[[Any, Mapping[str, Any]], VideoFeatures]:
    """encode(params, batch) → features of videos, jitted. The same system gives the same function.

    batch: "video_id" [B] uint32, "frames" [B, M, H, W, 3] uint8, "frame_mask" [B, M] bool, perhaps
    "video_extra" for `VideoFeatures.extra`.
    """

    def encode(params: Any, batch: Mapping[str, Any]) -> VideoFeatures:
        frames = batch["frames"], batch["frame_mask"]
        return system.encode_video(params, batch["video_id"], *frames, *_given(batch, "video_extra"))

    return jax.jit(encode)


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
