"""Features of a frozen CLIP, computed once for a split of a prepared dataset and stored in its folder.

A table holds one side of a split, captions or videos: FOLDER/header.json and one memory-mapped FOLDER/NAME.npy an
array. The folder's name contains a hash of everything that the features depend on, so systems and seeds that start from
the same CLIP share it, and anything else gets a folder of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.data.prepared_dataset import rows_of
from eaglenet_jax.data.vision_tokens import TokenReader
from eaglenet_jax.errors import UserError

FEATURES_FOLDER = "clip_features"
HEADER_FILE = "header.json"


@dataclasses.dataclass(frozen=True)
class ArrayForm:
    """Form of one array of a table.

    Attributes:
        shape: Of a row.
        dtype: Name of its type, as "float32". NumPy has no bfloat16 in files, so it is stored as the same bits in
            uint16.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Type in the file."""
        return np.dtype(np.uint16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * self.stored_dtype.itemsize


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Description of a table, which is its header.

    Attributes:
        side: "captions" or "videos".
        split: Name of the split.
        rows: Number of rows, in the order of the split.
        arrays: Forms by name.
        made_from: What the features depend on besides: JSON values.
    """

    side: str
    split: str
    rows: int
    arrays: Mapping[str, ArrayForm]
    made_from: Mapping[str, Any]

    @property
    def header(self) -> dict[str, Any]:
        """Content of header.json."""
        return json.loads(json.dumps(dataclasses.asdict(self), sort_keys=True))

    def folder(self, prepared: Path) -> Path:
        """Return the folder of the table inside a prepared dataset."""
        content = json.dumps(self.header, sort_keys=True).encode()
        key = hashlib.blake2b(content, digest_size=8).hexdigest()
        return prepared / FEATURES_FOLDER / f"{self.split}_{self.side}_{key}"

    @property
    def bytes(self) -> int:
        """Size of all its arrays."""
        return self.rows * sum(form.row_bytes for form in self.arrays.values())


def array_file(folder: Path, name: str) -> Path:
    """Return the file of an array of a table."""
    return folder / f"{name}.npy"


def array_header(form: ArrayForm, rows: int) -> dict[str, Any]:
    """Return the header of the .npy file of an array with so many rows."""
    descr = np.lib.format.dtype_to_descr(form.stored_dtype)
    return {"descr": descr, "fortran_order": False, "shape": (rows, *form.shape)}


@dataclasses.dataclass(frozen=True)
class StoredFeatures:
    """A table that is complete. arrays: memory-mapped, [rows, …] by name."""

    table: FeatureTable
    folder: Path
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def open(cls, folder: Path, table: FeatureTable) -> StoredFeatures:
        """Open the arrays of a table.

        Args:
            folder: Of the table, see `FeatureTable.folder`.
            table: What it must hold.

        Raises:
            UserError: The folder holds something else, or a file is missing or damaged.
        """
        remedy = f"delete {folder}, and the same command computes it again"
        try:
            header = json.loads((folder / HEADER_FILE).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / HEADER_FILE} is missing or damaged ({error}); {remedy}") from error
        if header != table.header:
            raise UserError(f"{folder} holds other features than its name says; {remedy}")
        return cls(table, folder, {name: _mapped(folder, name, form, table) for name, form in table.arrays.items()})

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Read rows of all arrays."""
        return {name: np.asarray(array[rows]) for name, array in self.arrays.items()}


def _mapped(folder: Path, name: str, form: ArrayForm, table: FeatureTable) -> np.ndarray:
    file = array_file(folder, name)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} is missing or damaged ({error}); delete {folder}, and the same command computes it again"
        ) from error
    expected = (table.rows, *form.shape)
    if array.shape != expected or array.dtype != form.stored_dtype:
        raise UserError(
            f"{file} holds {array.dtype} {array.shape}, not {form.stored_dtype} {expected}; delete {folder}, and the "
            "same command computes it again"
        )
    if form.dtype != "bfloat16":
        return array
    import jax.numpy as jnp  # it knows the type, and nothing else here needs it

    return array.view(jnp.bfloat16)


@dataclasses.dataclass(frozen=True)
class FeatureLoader:
    """Load training batches of features: rows of captions [b] → a dict as `OnFeatures` in system.py reads it.

    Attributes:
        text_id, video_id: Ids by row.
        texts, videos: Their features.
        text_video: [Nt], row of the video of each caption.
        text_extra: `Captions.extra`.
        tokens: `PreparedSplit.tokens`.
    """

    text_id: np.ndarray
    video_id: np.ndarray
    texts: StoredFeatures
    videos: StoredFeatures
    text_video: np.ndarray
    text_extra: Mapping[str, Any]
    tokens: TokenReader | None

    def __call__(self, rows: np.ndarray) -> dict[str, Any]:
        """Load rows of captions, each with its video."""
        videos = self.text_video[rows]
        batch: dict[str, Any] = {
            "text_id": self.text_id[rows],
            "video_id": self.video_id[videos],
            "text": self.texts(rows),
            "video": self.videos(videos),
        }
        if self.text_extra:
            batch["text_extra"] = rows_of(self.text_extra, rows)
        if self.tokens is not None:
            batch["video_extra"] = {"tokens": self.tokens(videos)}
        return batch
