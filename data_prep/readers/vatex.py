"""Reader of VATEX: English captions in the official JSON or as `ref_captions.json`, lists of ids for the splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, find, read_json, read_lines, wrong_form
from eaglenet_jax.errors import UserError

CAPTIONS = (
    "vatex_training_v1.0.json",
    "vatex_validation_v1.0.json",
    "ref_captions.json",
    "yuqi657_val.json",
    "vatex_data.json",
)
FORM = 'a list of {"videoID", "enCap"} or {"video", "caption"}, or a mapping of video id → captions'


def read_vatex(folder: Path, variant: str) -> Annotations:
    """Read the annotation files of VATEX.

    Args:
        folder: Folder of the files.
        variant: "hgr" (val and test are halves of the official validation videos), or "1k5-sec" (another test half).
    """
    found = Gathering(folder)
    captions: dict[str, list[str]] = {}
    for name in CAPTIONS:
        path = find(folder, name)
        if path is not None:
            found.note_file(path)
            for video_id, texts in _captions(path).items():
                captions.setdefault(video_id, texts)  # two files with a video have the same captions
    if not captions:
        raise UserError(f"{folder} has no captions of VATEX: {' or '.join(CAPTIONS)}")
    lists = {name: found.find(name, f"{name}_list.txt") for name in ("train", "val", "test")}
    ids = {name: read_lines(path) for name, path in lists.items() if path is not None}
    if variant == "1k5-sec":
        second = found.find("test", "test1k5_sec_list.txt")
        halves = [name for half in ("val", "test") for name in ids.pop(half, [])]
        if second is not None:
            ids["test"] = read_lines(second)
            # The list has videos of both halves; the others are the validation split.
            ids["val"] = [name for name in halves if name not in set(ids["test"])]
    for split in ("train", "val", "test"):
        if split in ids:
            found.add_listed(split, ids[split], captions)
            if not captions.keys() & set(ids[split]):
                found.lacks(split, " or ".join(CAPTIONS[:3]))
    found.facts["captioned videos"] = len(captions)
    return found.annotations()


def _captions(path: Path) -> dict[str, list[str]]:
    content = read_json(path)

    def texts(value: Any) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise TypeError(f"captions are {value!r}")
        return value

    try:
        if isinstance(content, dict):
            return {video_id: texts(value) for video_id, value in content.items()}
        return {
            row["videoID"] if "videoID" in row else row["video"]: texts(
                row["enCap"] if "enCap" in row else row["caption"]
            )
            for row in content
        }
    except (KeyError, TypeError) as error:
        raise wrong_form(path, FORM, error) from error
