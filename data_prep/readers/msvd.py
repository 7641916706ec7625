"""Reader of MSVD: captions as the usual pickle or as JSON, three lists of ids."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, read_json, read_lines, wrong_form
from eaglenet_jax.errors import UserError

CAPTIONS = ("raw-captions.pkl", "captions_msvd.json", "raw-captions.json")
FORM = "video id → list of captions, each a text or a list of words"


def read_msvd(folder: Path, variant: str = "official") -> Annotations:
    """Read the annotation files of MSVD: 1,200 train, 100 val and 670 test videos, about forty captions each."""
    found = Gathering(folder)
    path = found.find("captions", *CAPTIONS)
    if path is None:
        raise UserError(f"{folder} has no captions of MSVD: {' or '.join(CAPTIONS)}")
    content = read_plain_pickle(path) if path.suffix == ".pkl" else read_json(path)
    captions = _texts(content, path)
    listed: set[str] = set()
    for split in ("train", "val", "test"):
        ids_file = found.find(split, f"{split}_list.txt")
        if ids_file is not None:
            ids = read_lines(ids_file)
            listed.update(ids)
            found.add_listed(split, ids, captions)
    found.facts["captioned videos"] = len(captions)
    found.facts["captions in the file"] = sum(map(len, captions.values()))
    found.facts["captioned videos in no list"] = len(captions.keys() - listed)
    return found.annotations()


def _texts(content: Any, path: Path) -> dict[str, list[str]]:
    def text(caption: str | Sequence[str]) -> str:
        if isinstance(caption, str):
            return caption
        if not all(isinstance(word, str) for word in caption):
            raise TypeError(f"a caption is {caption!r}")
        return " ".join(caption)

    try:
        if not isinstance(content, Mapping):
            raise TypeError(f"it holds a {type(content).__name__}")
        return {str(video_id): [text(caption) for caption in captions] for video_id, captions in content.items()}
    except TypeError as error:
        raise wrong_form(path, FORM, error) from error


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler of containers, strings and numbers only: to run code, a pickle must name a function or class."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it needs {module}.{name}")


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of dicts, lists, strings and numbers.

    Raises:
        UserError: It contains anything else; nothing of it is executed.
    """
    try:
        # Strings of Python 2 are bytes, here not always valid UTF-8.
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8", errors="replace").load()
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a pickle of plain data ({error}); nothing of it was executed. Get it from another source"
        ) from error
    except Exception as error:  # the unpickler raises many types on a damaged stream
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); download it again") from error
