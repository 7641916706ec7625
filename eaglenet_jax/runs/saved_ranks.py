"""Files of ranks: the places of all queries of an evaluation, to compare another one with it query by query."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import Placement, RetrievalPlacement

_FIELDS = ("t2v_greater", "t2v_tied", "v2t_greater", "v2t_tied", "text_video", "videos")


def save_ranks(file: str | Path, placements: Mapping[str, RetrievalPlacement]) -> None:
    """Write the places of all queries, whole or not at all.

    Args:
        file: Of NumPy's format .npz.
        placements: By the name of the split.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, placement in placements.items():
        values = (
            placement.t2v.greater, placement.t2v.tied, placement.v2t.greater, placement.v2t.tied,
            placement.text_video, placement.videos,
        )  # fmt: skip
        arrays |= {f"{name}/{field}": np.asarray(value, np.int32) for field, value in zip(_FIELDS, values, strict=True)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(Path(file), buffer.getvalue())


def load_ranks(file: str | Path) -> dict[str, RetrievalPlacement]:
    """Read what `save_ranks` wrote; {} where there is no such file.

    Raises:
        UserError: If the file is damaged.
    """
    if not Path(file).is_file():
        return {}
    try:
        with np.load(io.BytesIO(Path(file).read_bytes()), allow_pickle=False) as arrays:
            names = dict.fromkeys(name.rpartition("/")[0] for name in arrays)
            found = {name: [arrays[f"{name}/{field}"].astype(np.int64) for field in _FIELDS] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{file} is damaged; delete it, only the comparison with this stage needs it") from error
    return {
        name: RetrievalPlacement(Placement(values[0], values[1]), Placement(values[2], values[3]), *values[4:])
        for name, values in found.items()
    }
