"""Rows of an index and the settings that all of them share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.windows import WindowRule

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "windows"
METADATA = b"eaglenet_jax.search"
FORMAT = 1
PREVIEWS = "previews"  # the column that indexes of earlier versions do not have


@dataclasses.dataclass(frozen=True)
class StoreSettings:
    """Settings that all rows of an index share.

    Attributes:
        model_id: Identity of the model that computed the features.
        checkpoint: Where that model was opened.
        width: d.
        frames: M.
        rule: How videos are cut.
    """

    model_id: str
    checkpoint: str
    width: int
    frames: int
    rule: WindowRule

    def schema(self, previews: bool = True) -> pa.Schema:
        """Return the schema of the table, with the settings in its metadata.

        Args:
            previews: Whether rows have previews; those of indexes of earlier versions do not.
        """
        import pyarrow as pa

        # With a primary key, LanceDB detects that two writers insert the same row, and only one of them succeeds.
        key = {"lance-schema:unenforced-primary-key": "true"}
        fields = [
            pa.field("id", pa.string(), nullable=False, metadata=key),
            pa.field("pooled", pa.list_(pa.float32(), self.width)),
            pa.field("frames", pa.list_(pa.float16(), self.frames * self.width)),
            pa.field("times", pa.list_(pa.float32())),
            pa.field("path", pa.string()),
            pa.field("start", pa.float64()),
            pa.field("end", pa.float64()),
            pa.field("thumbnail", pa.binary()),
            *([pa.field(PREVIEWS, pa.list_(pa.binary()))] if previews else []),
            pa.field("file_hash", pa.string()),
            pa.field("file_size", pa.int64()),
            pa.field("file_time", pa.int64()),
        ]
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return pa.schema(fields, metadata={METADATA: json.dumps(content).encode()})


@dataclasses.dataclass(frozen=True)
class FileState:
    """State of a file when it was read.

    Attributes:
        hash: Hash of its content.
        size: Bytes.
        time: Modification time, nanoseconds.
    """

    hash: str
    size: int
    time: int


@dataclasses.dataclass(frozen=True)
class StoredWindow:
    """A row of the index. pooled, frames and file are None if they were not read.

    Attributes:
        id: From `window_id`.
        path: File of the video.
        start: Seconds.
        end: Seconds.
        times: Seconds of its real frames.
        thumbnail: JPEG.
        pooled: [d] float32.
        frames: [M, d] float16, padding zero.
        file: State of the file.
        score: Cosine with the query of a search.
        previews: WebP of each of its real frames; empty if they were not stored, or not read.
    """

    id: str
    path: str
    start: float
    end: float
    times: tuple[float, ...]
    thumbnail: bytes
    pooled: np.ndarray | None = None
    frames: np.ndarray | None = None
    file: FileState | None = None
    score: float = 0.0
    previews: tuple[bytes, ...] = ()


def window_id(path: str, file_hash: str, start: float) -> str:
    """Return the id of a window, the same whichever process indexes it: 32 hexadecimal digits."""
    return hashlib.blake2b(f"{path}\0{file_hash}\0{start:.6f}".encode(), digest_size=16).hexdigest()


def read_settings(uri: str, schema: pa.Schema) -> StoreSettings:
    """Read the settings from the schema of the table at `uri`.

    Raises:
        UserError: It is no index, or one of another format.
    """
    try:
        content = json.loads((schema.metadata or {})[METADATA])
        found = content.pop("format")
        settings = StoreSettings(**{**content, "rule": WindowRule(**content["rule"])}) if found == FORMAT else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{uri} holds a table {TABLE!r} that is no index of videos; give another --index") from error
    if settings is None:
        raise UserError(f"{uri} is an index of format {found}, this program reads {FORMAT}; index the videos again")
    wanted = {field.name: field.type for field in settings.schema(PREVIEWS in schema.names)}
    different = [name for name, kind in wanted.items() if name not in schema.names or schema.field(name).type != kind]
    if different:
        raise UserError(f"{uri}: columns {', '.join(different)} are missing or of another type; index the videos again")
    return settings
