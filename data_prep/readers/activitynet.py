"""Reader of ActivityNet Captions, one paragraph a video."""

from __future__ import annotations

from pathlib import Path

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, find, numbered, read_json, wrong_form

FORM = 'video id → {"sentences": [text, …], …}'


def read_activitynet(folder: Path, variant: str) -> Annotations:
    """Read the annotation files of ActivityNet Captions.

    Args:
        folder: Folder of the files.
        variant: "val_1" or "val_2", the set of test paragraphs; both describe the same videos.
    """
    found = Gathering(folder)
    for split, name in (("train", "train.json"), ("test", f"{variant}.json")):
        path = found.find(split, name)
        if path is not None:
            found.add(split, [(video_id, numbered(video_id, [text])) for video_id, text in paragraphs(path)])
    for name in ("val_1", "val_2"):
        path = find(folder, f"{name}.json")
        if path is not None:
            found.facts[f"paragraphs in {name}.json"] = len(paragraphs(path))
    return found.annotations()


def paragraphs(path: Path) -> list[tuple[str, str]]:
    """Return (video id, its sentences joined by spaces), in the file's order."""
    try:
        return [
            (video_id, " ".join(" ".join(video["sentences"]).split())) for video_id, video in read_json(path).items()
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise wrong_form(path, FORM, error) from error
