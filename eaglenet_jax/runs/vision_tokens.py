"""Tokens of a second stage's own vision encoder, computed once for all videos of a prepared dataset."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.eva import EvaConfig, EvaVision
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.data.pipeline import video_batches
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.vision_tokens import (
    TokensHeader,
    header_content,
    shard_content,
    shard_file,
    tokens_folder,
)
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.blip2_files import is_blip2, open_blip2
from eaglenet_jax.port.blip2_vision import load_blip2_vision
from eaglenet_jax.port.load import load_clip
from eaglenet_jax.runs.cached_features import megabytes
from eaglenet_jax.runs.experiment import prepared_folder
from eaglenet_jax.runs.workdir import has_checkpoints, load_checkpoint
from eaglenet_jax.system import build_clip_config, build_system
from eaglenet_jax.wording import spoken_time

# Compute type → type in the shards.
COMPUTE_TYPES = {"bfloat16": "bfloat16", "float32": "float16"}


@dataclasses.dataclass(frozen=True)
class FrozenEncoder:
    """A vision encoder whose tokens are computed once.

    Attributes:
        params: Its parameters.
        count: Tokens of a frame, class token first.
        width: Width of a token.
        image_size: Height and width of a frame in pixels.
        encode: (params, frames [B, M, H, W, 3], mask [B, M]) → tokens [B, M, count, width].
    """

    params: Any
    count: int
    width: int
    image_size: int
    encode: Callable[[Any, Any, Any], jax.Array]


def load_encoder(source: str, dtype: str = "float32") -> FrozenEncoder:
    """Load a vision encoder.

    source: a work directory of ours or a Hugging Face CLIP, whose tokens are projected; or a Hugging Face BLIP-2, whose
    tokens are not. dtype: compute type. Raises UserError for what cannot be read.
    """
    if not has_checkpoints(Path(source)) and is_blip2(source):
        sizes, params = load_blip2_vision(open_blip2(source))
        return _blip2_encoder(dataclasses.replace(sizes, dtype=dtype), params)
    if has_checkpoints(Path(source)):
        loaded = load_checkpoint(Path(source))
        return _clip_encoder(build_clip_config(loaded.config.clip), loaded.params["clip"], dtype)
    config, params, _ = load_clip(source)
    return _clip_encoder(config, params["clip"], dtype)


def _blip2_encoder(config: EvaConfig, params: Any) -> FrozenEncoder:
    module = EvaVision(config)

    def encode(params: Any, frames: Any, mask: Any) -> jax.Array:
        tokens: Any = module.apply({"params": params}, frames, mask)
        return tokens

    return FrozenEncoder(_narrow(params, config.dtype), config.tokens, config.width, config.image_size, encode)


def _clip_encoder(config: ClipConfig, params: Any, dtype: str) -> FrozenEncoder:
    clip = Clip(dataclasses.replace(config, shift_blocks=(), mask_padding=True, dtype=dtype))

    def encode(params: Any, frames: Any, mask: Any) -> jax.Array:
        found: Any = clip.apply({"params": params}, frames, mask, patches=True, method="encode_video")
        features, patches = found
        return jnp.concatenate([features[:, :, None], patches], axis=2)

    return FrozenEncoder(_narrow(params, dtype), config.patches + 1, config.embed_dim, config.image_size, encode)


def _narrow(params: Any, dtype: str) -> Any:
    """Matrices in the compute type, so that ViT-g takes half the memory; each would be cast where it is used anyway."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if np.ndim(leaf) > 1 else jnp.float32), params)


def make_tokens(config: Any, batch_size: int = 16, dtype: str = "bfloat16") -> dict[str, Path]:
    """Write the tokens of all splits where they are missing → the folder of each split.

    config: its head names the encoder (`Head.second_encoder`) and the tokens of a frame (`Head.video_extra`). The
    demo's data are made where they are missing. dtype: one of `COMPUTE_TYPES`. Interrupted, it continues where it was.
    A split whose tokens are all there as the other type keeps them. Raises UserError for a head without an encoder of
    its own, for an encoder that gives other tokens than the head reads, and for a part of a split as the other type.
    """
    if dtype not in COMPUTE_TYPES:
        raise UserError(f"dtype is {dtype!r}; choose {' or '.join(COMPUTE_TYPES)}")
    head = build_system(config).head
    source = head.second_encoder()
    if not source:
        raise UserError(
            f"{config.system}: the head reads no vision encoder of its own; give an option that names one, as "
            "--config.head.tokens.source of crosstvr"
        )
    count, width = head.video_extra(1)["tokens"].shape[-2:]
    dataset = PreparedDataset.open(prepared_folder(config.data, prepare=True))
    encoder = load_encoder(source, dtype)
    given = encoder.count, encoder.width
    if given != (count, width) or encoder.image_size != dataset.size:
        raise UserError(
            f"{source} gives {given[0]} tokens of {given[1]} from frames of {encoder.image_size} pixels; "
            f"the head reads {count} of {width}, and the prepared frames have {dataset.size}"
        )
    run = jax.jit(encoder.encode)

    def encode(frames: Any, mask: Any) -> np.ndarray:
        return np.asarray(run(encoder.params, frames, mask))

    folders = {}
    for name in dataset.manifest["splits"]:
        split = dataset.split(name)
        folder = folders[name] = tokens_folder(dataset.directory, source, name)
        videos = len(split.video_ids)
        header = TokensHeader(
            dataset.fingerprint, source, videos, config.max_frames, count, width, COMPUTE_TYPES[dtype]
        )
        content = header_content(header)
        whole, begun = folder / "header.json", folder / "begun.json"
        last = begun if begun.is_file() else whole
        stored, there = _stored_type(last, header), sorted(folder.glob("*.npy"))
        if stored and last is whole and all(shard_file(folder, index).is_file() for index in range(header.shards)):
            if stored != header.dtype:
                print(f"{name}: kept, of {stored}, in {folder}; delete it for {header.dtype}", file=sys.stderr)
            continue
        if there and stored not in ("", header.dtype):
            other = next((given for given, kept in COMPUTE_TYPES.items() if kept == stored), stored)
            raise UserError(
                f"{folder} holds a part of its tokens as {stored}; go on with --dtype={other}, or delete it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if stored != header.dtype:
            whole.unlink(missing_ok=True)  # first: it says that all shards are there
            if there:
                print(f"{name}: the tokens in {folder} are of another config; they are made again", file=sys.stderr)
            for old in there:  # of other data, another encoder or other frames
                old.unlink(missing_ok=True)
            write_atomically(begun, content)
        print(f"{name}: {megabytes(header.bytes)} of {header.dtype} in {folder}", file=sys.stderr)
        progress = _Progress(name, header)
        for index in range(header.shards):
            if not shard_file(folder, index).is_file():
                batches = video_batches(
                    split, batch_size=batch_size, max_frames=config.max_frames, between=header.shard(index)
                )
                parts = []
                for batch in batches:
                    parts.append(encode(batch["frames"], batch["frame_mask"])[batch["valid"]])
                    progress.encoded(len(parts[-1]))
                write_atomically(shard_file(folder, index), shard_content(np.concatenate(parts), header.dtype))
            print(progress.line(header.shard(index)[1]), file=sys.stderr)
        write_atomically(whole, content)
        begun.unlink(missing_ok=True)
    return folders


def _stored_type(file: Path, header: TokensHeader) -> str:
    """Read the type of tokens whose header is this one but for the type; "" for other tokens or none.

    Headers of earlier versions name no type: it was float16.
    """
    try:
        found = json.loads(file.read_text())
        stored = str(found.pop("dtype", "float16"))
    except (OSError, ValueError, AttributeError, TypeError):
        return ""
    wanted = dataclasses.asdict(header)
    return stored if found == {key: value for key, value in wanted.items() if key != "dtype"} else ""


class _Progress:
    """Videos encoded so far and the time that the others take, by the rate after the first batch, which compiles."""

    def __init__(self, split: str, header: TokensHeader) -> None:
        self.split, self.header = split, header
        self.timed, self.since = 0, 0.0

    def encoded(self, videos: int) -> None:
        """Count a batch."""
        if self.since:
            self.timed += videos
        else:
            self.since = time.monotonic()

    def line(self, videos: int) -> str:
        """Return a line on `videos` of the split, those that are there included."""
        left = self.header.videos - videos
        line = f"{self.split}: {videos} of {self.header.videos} videos"
        if not (left and self.timed):
            return line
        seconds = (time.monotonic() - self.since) / self.timed
        return f"{line}, about {spoken_time(left * seconds)} left at {1 / seconds:.3g} videos a second"
