"""Tokens of a second stage's own vision encoder, computed once for all videos of a prepared dataset."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.clip.config import ClipConfig
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
from eaglenet_jax.port.load import load_clip
from eaglenet_jax.runs.experiment import prepared_folder
from eaglenet_jax.runs.workdir import has_checkpoints, load_checkpoint
from eaglenet_jax.system import build_clip_config, build_system


def load_encoder(source: str) -> tuple[ClipConfig, Any]:
    """Load a CLIP → (sizes, parameters), from a work directory of ours or from Hugging Face's folder or name."""
    if not has_checkpoints(Path(source)):
        config, params, _ = load_clip(source)
        return config, params["clip"]
    loaded = load_checkpoint(Path(source))
    return build_clip_config(loaded.config.clip), loaded.params["clip"]


def make_tokens(config: Any, batch_size: int = 16) -> dict[str, Path]:
    """Write the tokens of all splits where they are missing → the folder of each split.

    config: its head names the encoder (`Head.second_encoder`) and the tokens of a frame (`Head.video_extra`). The
    demo's data are made where they are missing. Interrupted, it continues where it was. Raises UserError for a head
    without an encoder of its own, and for an encoder that gives other tokens than the head reads.
    """
    head = build_system(config).head
    source = head.second_encoder()
    if not source:
        raise UserError(
            f"{config.system}: the head reads no vision encoder of its own; give an option that names one, as "
            "--config.head.tokens.source of crosstvr"
        )
    count, width = head.video_extra(1)["tokens"].shape[-2:]
    dataset = PreparedDataset.open(prepared_folder(config.data, prepare=True))
    clip_config, params = load_encoder(source)
    given = clip_config.patches + 1, clip_config.embed_dim
    if given != (count, width) or clip_config.image_size != dataset.size:
        raise UserError(
            f"{source} gives {given[0]} tokens of {given[1]} from frames of {clip_config.image_size} pixels; "
            f"the head reads {count} of {width}, and the prepared frames have {dataset.size}"
        )
    clip = Clip(dataclasses.replace(clip_config, shift_blocks=(), mask_padding=True))

    @jax.jit
    def encode(frames: Any, mask: Any) -> jax.Array:
        found: Any = clip.apply({"params": params}, frames, mask, patches=True, method="encode_video")
        features, patches = found
        return jax.numpy.concatenate([features[:, :, None], patches], axis=2)

    folders = {}
    for name in dataset.manifest["splits"]:
        split = dataset.split(name)
        folder = folders[name] = tokens_folder(dataset.directory, source, name)
        header = TokensHeader(dataset.fingerprint, source, len(split.video_ids), config.max_frames, count, width)
        content = header_content(header)
        whole, begun = folder / "header.json", folder / "begun.json"
        last = begun if begun.is_file() else whole
        ours = last.is_file() and last.read_bytes() == content
        if ours and last is whole and all(shard_file(folder, index).is_file() for index in range(header.shards)):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if not ours:
            whole.unlink(missing_ok=True)  # first: it says that all shards are there
            for old in folder.glob("*.npy"):  # of other data, another encoder or other frames
                old.unlink(missing_ok=True)
            write_atomically(begun, content)
        for index in range(header.shards):
            if not shard_file(folder, index).is_file():
                batches = video_batches(
                    split, batch_size=batch_size, max_frames=config.max_frames, between=header.shard(index)
                )
                parts = [np.asarray(encode(b["frames"], b["frame_mask"]))[b["valid"]] for b in batches]
                write_atomically(shard_file(folder, index), shard_content(np.concatenate(parts)))
            print(f"{name}: {header.shard(index)[1]} of {header.videos} videos", file=sys.stderr)
        write_atomically(whole, content)
        begun.unlink(missing_ok=True)
    return folders
