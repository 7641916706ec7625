"""Reader of Charades, one CSV table a split."""

from __future__ import annotations

from pathlib import Path

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, numbered, read_table


def read_charades(folder: Path, variant: str) -> Annotations:
    """Read the annotation files of Charades.

    Args:
        folder: Folder of the files.
        variant: "script" (what the actors were told, one a video), or "descriptions" (by viewers, several a video).
    """
    found = Gathering(folder)
    for split in ("train", "test"):
        path = found.find(split, f"Charades_v1_{split}.csv")
        if path is not None:
            found.add(split, [(video_id, numbered(video_id, texts)) for video_id, texts in _rows(path, variant)])
    return found.annotations()


def _rows(path: Path, variant: str) -> list[tuple[str, list[str]]]:
    rows = read_table(path, "id", variant)
    if variant == "script":
        return [(row["id"], [" ".join(row["script"].split())]) for row in rows]
    return [
        (row["id"], [" ".join(text.split()) for text in row["descriptions"].split(";") if text.strip()]) for row in rows
    ]
