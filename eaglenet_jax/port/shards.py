"""Index files of weights that are split over several files, as `save_pretrained` writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from eaglenet_jax.errors import UserError

INDEX = ".index.json"
PART = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")  # model-00001-of-00002.safetensors


def weight_map(index: Path) -> dict[str, str]:
    """Read which file each tensor lies in.

    Raises:
        UserError: The index cannot be read, or names a file outside its folder.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        found = {str(name): str(file) for name, file in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is no readable index of weights ({type(error).__name__}); copy it again") from error
    outside = [file for file in found.values() if Path(file).name != file or not file]
    if outside or not found:
        what = f"names {outside[0]!r}, which is not in its folder" if outside else "names no tensor"
        raise UserError(f"{index} {what}; copy the folder again")
    return found


def shard_files(index: Path) -> list[Path]:
    """List the files that an index names.

    Raises:
        UserError: The index cannot be read, or one of its files does not exist.
    """
    files = [index.with_name(name) for name in sorted(set(weight_map(index).values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{index}: {len(missing)} of {len(files)} files are missing: {', '.join(missing)}; copy them too"
        )
    return files


def check_whole(file: Path) -> None:
    """Raise UserError for one file of several, with what to give in its place."""
    part = PART.fullmatch(file.name)
    if part:
        index = file.with_name(part[1] + part[2] + INDEX)
        raise UserError(f"{file} holds only a part of the weights; give {index}, which names all of them")
