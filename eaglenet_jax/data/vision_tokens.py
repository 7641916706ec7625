"""Tokens of a second, frozen vision encoder: computed once for a prepared dataset, kept beside it in shards."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eaglenet_jax.errors import UserError

TOKENS_FOLDER = "vision_tokens"
SHARD_VIDEOS = 256
COMMAND = "make them with python -m eaglenet_jax.vision_tokens and the same --config"


def tokens_folder(prepared: Path, source: str, split: str) -> Path:
    """Where the tokens of a split by an encoder lie."""
    return prepared / TOKENS_FOLDER / re.sub(r"\W+", "_", source).strip("_") / split


@dataclasses.dataclass(frozen=True)
class TokensHeader:
    """What the shards of a split hold: [videos, frames, count, width] float16, in the order of the records.

    fingerprint: of the prepared dataset. source: of the encoder.
    """

    fingerprint: str
    source: str
    videos: int
    frames: int
    count: int
    width: int

    def shard(self, index: int) -> tuple[int, int]:
        """First video of a shard and the one behind its last."""
        return index * SHARD_VIDEOS, min((index + 1) * SHARD_VIDEOS, self.videos)

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.videos // SHARD_VIDEOS)


def shard_file(folder: Path, index: int) -> Path:
    """A shard of a split."""
    return folder / f"{index:05d}.npy"


def header_content(header: TokensHeader) -> bytes:
    """The file `header.json` of a split, written when all shards are there."""
    return json.dumps(dataclasses.asdict(header), indent=1).encode()


def shard_content(tokens: np.ndarray) -> bytes:
    """The file of a shard from tokens [videos, frames, count, width]. UserError for what float16 cannot hold."""
    if not (np.abs(tokens) <= np.finfo(np.float16).max).all():
        raise UserError("the encoder gives tokens that are not finite, or too large for float16; another one is needed")
    buffer = io.BytesIO()
    np.save(buffer, tokens.astype(np.float16))
    return buffer.getvalue()


class TokenReader:
    """Tokens of the videos of a split, by row. Shards are mapped from the disk at first use, anew in every process."""

    def __init__(self, folder: Path, header: TokensHeader) -> None:
        self.folder, self.header = folder, header
        self._open: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    @classmethod
    def open(cls, folder: Path, wanted: TokensHeader) -> TokenReader:
        """UserError where the tokens are missing, or not those that are wanted."""
        try:
            header = TokensHeader(**json.loads((folder / "header.json").read_text()))
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no tokens of {wanted.source}; {COMMAND}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder}/header.json is damaged ({error}); delete the folder and {COMMAND}") from error
        different = [
            f"{field.name} is {getattr(header, field.name)} there and {getattr(wanted, field.name)} here"
            for field in dataclasses.fields(wanted)
            if getattr(header, field.name) != getattr(wanted, field.name)
        ]
        if different:
            raise UserError(
                f"the tokens in {folder} are others ({'; '.join(different)}); delete the folder and {COMMAND}"
            )
        return cls(folder, header)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Tokens of videos, [b, frames, count, width] float16."""
        return np.stack([self._shard(int(row) // SHARD_VIDEOS)[int(row) % SHARD_VIDEOS] for row in rows])

    def _shard(self, index: int) -> np.ndarray:
        if index not in self._open:
            file, (first, stop) = shard_file(self.folder, index), self.header.shard(index)
            try:
                shard = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{file} is missing or damaged ({error}); delete it and {COMMAND}") from error
            expected = (stop - first, self.header.frames, self.header.count, self.header.width)
            if shard.shape != expected or shard.dtype != np.float16:
                raise UserError(
                    f"{file} holds {shard.dtype} {shard.shape}, not float16 {expected}; delete it and {COMMAND}"
                )
            self._open[index] = shard
        return self._open[index]
