"""Reader of DiDeMo, one paragraph a video: CSV tables of paragraphs, or the original moments joined."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, find, numbered, read_json, read_lines, read_table, wrong_form
from eaglenet_jax.data.video_files import stem

SPLITS = ("train", "val", "test")


def read_didemo(folder: Path, variant: str) -> Annotations:
    """Read the annotation files of DiDeMo.

    A video's id is its file name without the suffix, since the same video has several file names.

    Args:
        folder: Folder of the files.
        variant: "paragraphs" (`didemo_{split}_label.csv`) or "moments" (`{split}_data.json` and `{split}_list.txt`).
    """
    found = Gathering(folder)
    for split in SPLITS:
        list_file = find(folder, f"{split}_list.txt")
        listed = set(read_lines(list_file)) if list_file else None
        if listed is not None:
            found.facts[f"videos in {split}_list.txt"] = len(listed)
        if variant == "paragraphs":
            path = found.find(split, f"didemo_{split}_label.csv")
            texts = _paragraphs(path) if path else None
        else:
            path = found.find(split, f"{split}_data.json")
            texts = _joined_moments(path, listed) if path else None
        if texts is not None:
            found.add(split, [(name, numbered(name, [text])) for name, text in texts])
    return found.annotations()


def _paragraphs(path: Path) -> list[tuple[str, str]]:
    rows = read_table(path, "video_path", "text")
    return [(stem(PurePosixPath(row["video_path"]).name), " ".join(row["text"].split())) for row in rows]


def _joined_moments(path: Path, listed: Collection[str] | None) -> list[tuple[str, str]]:
    """Join the descriptions of a video in the file's order, as the published paragraphs do.

    Some videos have two file names (x.mov and x.mp4), with different moments; the lists name one of the two, and the
    published paragraphs contain only the moments under that name.
    """
    moments: dict[str, list[str]] = {}
    try:
        for row in read_json(path):
            if listed is None or row["video"] in listed:
                moments.setdefault(stem(row["video"]), []).append(row["description"])
        return [(name, " ".join(" ".join(texts).split())) for name, texts in moments.items()]
    except (KeyError, TypeError) as error:
        raise wrong_form(path, 'a list of {"video", "description"}', error) from error
