"""Encoding of a whole split, batch by batch, into host memory."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.scoring.host import to_host

Features = TypeVar("Features", TextFeatures, VideoFeatures)


@runtime_checkable
class Encoders(Protocol):
    """The part of a system (`eaglenet_jax.system.System`) that encoding uses. It must be hashable."""

    def __hash__(self) -> int: ...

    def encode_text(self, params: Any, text_id: Any, tokens: Any, *extra: Any) -> TextFeatures: ...

    def encode_video(self, params: Any, video_id: Any, frames: Any, frame_mask: Any, *extra: Any) -> VideoFeatures: ...


@functools.lru_cache(maxsize=8)
def make_encode_text(system: Encoders) -> Callable[[Any, Mapping[str, Any]], TextFeatures]:
    """Make the jitted function that encodes captions.

    Args:
        system: Its text encoder is used.

    Returns:
        encode(params, batch) → TextFeatures [B, ...]. batch: "text_id" [B] uint32, "tokens" [B, L] int32, and
        optionally "text_extra" for `TextFeatures.extra`. The same system gives the same function, compiled once.
    """

    def encode(params: Any, batch: Mapping[str, Any]) -> TextFeatures:
        return system.encode_text(params, batch["text_id"], batch["tokens"], *_given(batch, "text_extra"))

    return jax.jit(encode)


def _given(batch: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return (batch[name],) if name in batch else ()


@functools.lru_cache(maxsize=8)
def make_encode_video(system: Encoders) -> Callable[[Any, Mapping[str, Any]], VideoFeatures]:
    """Make the jitted function that encodes videos.

    Args:
        system: Its video encoder is used.

    Returns:
        encode(params, batch) → VideoFeatures [B, ...]. batch: "video_id" [B] uint32, "frames" [B, M, H, W, 3] uint8,
        "frame_mask" [B, M] bool, and optionally "video_extra" for `VideoFeatures.extra`. The same system gives the
        same function, compiled once.
    """

    def encode(params: Any, batch: Mapping[str, Any]) -> VideoFeatures:
        frames = batch["frames"], batch["frame_mask"]
        return system.encode_video(params, batch["video_id"], *frames, *_given(batch, "video_extra"))

    return jax.jit(encode)


@functools.lru_cache(maxsize=8)
def reduces_videos(head: Head) -> bool:
    """Return whether scoring reads less of a video than the encoder gives, see `Head.reduce_video`."""
    return type(head).reduce_video is not Head.reduce_video


@functools.lru_cache(maxsize=8)
def make_reduce_video(
    head: Head, compiled: Callable[..., Any] = jax.jit
) -> Callable[[Any, VideoFeatures, Draws], VideoFeatures]:
    """Make the function that reduces features of videos to what scoring reads of them, `Head.reduce_video`.

    Args:
        head: Of the system.
        compiled: Compiles the method of a head that has one.

    Returns:
        reduce(params of the head, features, draws) → features. The same arguments give the same function, compiled
        once.
    """
    if not reduces_videos(head):
        return lambda params, video, draws: video
    return compiled(lambda params, video, draws: head.apply({"params": params}, video, draws, method="reduce_video"))


def reduce_all(reduce: Callable[[VideoFeatures], VideoFeatures], videos: VideoFeatures, rows: int) -> VideoFeatures:
    """Reduce features of videos [Nv, ...] that were encoded before, `rows` at a time.

    Args:
        reduce: As `make_reduce_video` makes it, given parameters and draws.
        videos: In host memory, memory-mapped or not.
        rows: Videos that are on the device at a time.
    """
    parts = []
    for start in range(0, len(videos.id), rows):
        part = slice(start, start + rows)
        parts.append(jax.device_get(reduce(jax.tree.map(operator.itemgetter(part), videos))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def encode_all(
    encode: Callable[[dict[str, Any]], Features], batches: Iterable[Mapping[str, Any]], progress: Progress = no_progress
) -> Features:
    """Encode all batches into host memory, in order, without padding rows.

    One batch is encoded while the one before is copied.

    Args:
        encode: encode(batch) → features of the batch's rows, on the device.
        batches: May hold "valid" [B] bool, False for rows that only fill up a batch; `encode` does not see it. With
            several processes, batches are global arrays, and every process gets all features.
        progress: Called after each batch with "encoding rows", the number of them, and 0 for the total.

    Returns:
        Features [N, ...] in NumPy arrays.

    Raises:
        UserError: If no row is valid.
    """
    parts = list(encoded_batches(encode, batches, progress))
    if not parts:
        raise UserError("nothing to encode: the split has no examples")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def encoded_batches(
    encode: Callable[[dict[str, Any]], Features], batches: Iterable[Mapping[str, Any]], progress: Progress = no_progress
) -> Iterator[Features]:
    """Generate the features of each batch in host memory; arguments as of `encode_all`. Batches of padding are none."""
    rows = 0

    def kept(features: Any, valid: Any) -> Any:
        nonlocal rows
        features = to_host(features)
        if valid is not None:
            real = to_host(valid).astype(bool)
            features = jax.tree.map(lambda leaf: leaf[real], features)
        rows += len(features.id)
        progress("encoding rows", rows, 0)
        return features

    waiting: tuple[Any, Any] | None = None
    for batch in batches:
        ahead = encode({name: value for name, value in batch.items() if name != "valid"}), batch.get("valid")
        if waiting is not None:
            yield from _unless_empty(kept(*waiting))
        waiting = ahead
    if waiting is not None:
        yield from _unless_empty(kept(*waiting))


def _unless_empty(features: Any) -> Iterator[Any]:
    if len(features.id):
        yield features
