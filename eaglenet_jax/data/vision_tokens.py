"""Tokens of a second, frozen vision encoder, computed once for a prepared dataset and stored in its folder."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from eaglenet_jax.errors import UserError

TOKENS_FOLDER = "vision_tokens"
SHARD_VIDEOS = 256
STORED_TYPES = ("bfloat16", "float16")  # the same size; float16 is finer and holds no number above 65504
COMMAND = "compute them with python -m eaglenet_jax.vision_tokens and the same --config"


def tokens_folder(prepared: Path, source: str, split: str) -> Path:
    """Return the folder of the tokens of a split by an encoder."""
    return prepared / TOKENS_FOLDER / re.sub(r"\W+", "_", source).strip("_") / split


@dataclasses.dataclass(frozen=True)
class TokensHeader:
    """Contents of the shards of a split: [videos, frames, count, width], in the order of the records.

    Attributes:
        fingerprint: Fingerprint of the prepared dataset.
        source: Folder or name of the encoder.
        videos: Videos of the split.
        frames: Frames a video.
        count: Tokens a frame.
        width: Width of a token.
        dtype: One of `STORED_TYPES`. NumPy's files know no bfloat16: there its bits are stored, as uint16.
    """

    fingerprint: str
    source: str
    videos: int
    frames: int
    count: int
    width: int
    dtype: str = "float16"

    @property
    def numpy_type(self) -> np.dtype:
        """Type of the tokens as they are read."""
        return np.dtype(ml_dtypes.bfloat16) if self.dtype == "bfloat16" else np.dtype(np.float16)

    @property
    def bytes(self) -> int:
        """Size of all shards on disk, without their headers of 128 bytes."""
        return self.videos * self.frames * self.count * self.width * self.numpy_type.itemsize

    def shard(self, index: int) -> tuple[int, int]:
        """Return the first video of a shard and the one after its last."""
        return index * SHARD_VIDEOS, min((index + 1) * SHARD_VIDEOS, self.videos)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.videos // SHARD_VIDEOS)


def shard_file(folder: Path, index: int) -> Path:
    """Return the file of a shard of a split."""
    return folder / f"{index:05d}.npy"


def header_content(header: TokensHeader) -> bytes:
    """Return the content of `header.json` of a split, which is written after all shards."""
    return json.dumps(dataclasses.asdict(header), indent=1).encode()


def shard_content(tokens: np.ndarray, dtype: str = "float16") -> bytes:
    """Return the content of the file of a shard.

    Args:
        tokens: [videos, frames, count, width].
        dtype: One of `STORED_TYPES`.

    Raises:
        UserError: The type cannot hold the tokens.
    """
    narrow = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
    if not (np.abs(tokens) <= ml_dtypes.finfo(narrow).max).all():
        hint = "use another encoder" if dtype == "bfloat16" else "give --dtype=bfloat16, or use another encoder"
        raise UserError(f"the encoder gives tokens that are not finite, or too large for {dtype}; {hint}")
    stored = tokens.astype(narrow)
    buffer = io.BytesIO()
    np.save(buffer, stored.view(np.uint16) if dtype == "bfloat16" else stored)
    return buffer.getvalue()


class TokenReader:
    """Tokens of the videos of a split, by row. Shards are memory-mapped at first use, separately in every process."""

    def __init__(self, folder: Path, header: TokensHeader) -> None:
        self.folder, self.header = folder, header
        self._open: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    @classmethod
    def open(cls, folder: Path, wanted: TokensHeader) -> TokenReader:
        """Open the tokens of a split.

        Args:
            folder: From `tokens_folder`.
            wanted: The header that the shards must have, but for the type.

        Raises:
            UserError: The tokens are missing or damaged, or have another header.
        """
        try:
            header = TokensHeader(**json.loads((folder / "header.json").read_text()))
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no tokens of {wanted.source}; {COMMAND}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder}/header.json is damaged ({error}); delete the folder and {COMMAND}") from error
        different = [
            f"{field.name} is {getattr(header, field.name)}, needed is {getattr(wanted, field.name)}"
            for field in dataclasses.fields(wanted)
            if field.name != "dtype" and getattr(header, field.name) != getattr(wanted, field.name)
        ]
        if different:
            raise UserError(
                f"the tokens in {folder} do not fit ({'; '.join(different)}); delete the folder and {COMMAND}"
            )
        if header.dtype not in STORED_TYPES:
            raise UserError(f"{folder}/header.json names the type {header.dtype!r}; delete the folder and {COMMAND}")
        return cls(folder, header)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the tokens of videos, [b, frames, count, width] in the type of the header.

        Raises:
            UserError: A shard is missing or damaged.
        """
        return np.stack([self._shard(int(row) // SHARD_VIDEOS)[int(row) % SHARD_VIDEOS] for row in rows])

    def _shard(self, index: int) -> np.ndarray:
        if index not in self._open:
            file, (first, stop) = shard_file(self.folder, index), self.header.shard(index)
            try:
                shard = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{file} is missing or damaged ({error}); delete it and {COMMAND}") from error
            expected = (stop - first, self.header.frames, self.header.count, self.header.width)
            stored = np.dtype(np.uint16) if self.header.dtype == "bfloat16" else np.dtype(np.float16)
            if shard.shape != expected or shard.dtype != stored:
                raise UserError(
                    f"{file} holds {shard.dtype} {shard.shape}, not {stored} {expected}; delete it and {COMMAND}"
                )
            self._open[index] = shard.view(self.header.numpy_type)
        return self._open[index]
