"""Reader of videos of one's own: a table with a video and a caption in each row."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.annotations import Annotations, CaptionedVideo
from data_prep.cells import BadCell, CellFaults, name_cell, seconds_cell, text_cells
from data_prep.readers.rows import CAPTION_NAMES, SPLITS, VIDEO_NAMES, Row, read_rows
from eaglenet_jax.data.video_files import stem
from eaglenet_jax.errors import UserError

# Other names that are understood without being told; the first that is there is taken.
COLUMNS = {
    "video": VIDEO_NAMES,
    "caption": CAPTION_NAMES,
    "split": ("split",),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "id": ("id", "caption_id"),
}


@dataclasses.dataclass
class _Video:
    """Content of the rows of a video."""

    file: str
    clip: tuple[float, float | None] | None
    splits: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    """Split → its captions of the video."""
    captions: int = 0


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> Annotations:
    """Read a table of videos and captions.

    Args:
        path: CSV, TSV, JSON, JSON lines or Parquet, with a column "video" (a file, with or without folders and ending)
            and a column "caption" (text, or a list of texts); besides, where they are there, "split", "start" and "end"
            (the part of the file that is one video, in seconds) and "id" (of the caption). Several rows of a video are
            several captions.
        columns: Role → name of the column, where it has another one.

    Returns:
        The videos in the order of the rows. Without a column "split", all are "train".

    Raises:
        UserError: A column is missing, or a cell is not what its column needs.
    """
    rows = read_rows(path)
    names = _columns(path, list(rows.values()), columns or {})
    faults = CellFaults(path)
    videos: dict[str, _Video] = {}
    ambiguous = _ambiguous(row.get(names["video"]) for row in rows.values())
    for number, row in rows.items():
        _add_row(videos, row, names, f"row {number}", faults, ambiguous)
    faults.check()
    splits: dict[str, list[CaptionedVideo]] = {}
    for video_id, video in videos.items():
        for split, captions in video.splits.items():
            found = CaptionedVideo(video_id, tuple(captions), video.file, video.clip)
            splits.setdefault(split, []).append(found)
    unread = [name for name in next(iter(rows.values())) if name not in names.values()]
    facts = {f"column {name!r} is read as {role}": len(rows) for role, name in names.items()}
    facts |= {f"column {name!r} is not read": len(rows) for name in unread}
    return Annotations({split: tuple(found) for split, found in splits.items()}, (path,), facts=facts)


def _columns(path: Path, rows: list[Row], given: Mapping[str, str]) -> dict[str, str]:
    """Role → name of its column, for the roles that the table has."""
    there = dict.fromkeys(name for row in rows for name in row)
    for role, name in given.items():
        if role not in COLUMNS:
            raise UserError(f"--columns: {role!r} is unknown; the roles are {', '.join(COLUMNS)}")
        if name not in there:
            raise UserError(f"--columns: {path} has no column {name!r}; it has {', '.join(there)}")
    taken = set(given.values())
    names = dict(given)
    for role, usual in COLUMNS.items():
        found = [name for wanted in usual for name in there if name.strip().lower() == wanted and name not in taken]
        if role not in names and found:
            names[role] = found[0]
    for role in ("video", "caption"):
        if role not in names:
            raise UserError(
                f"{path} has no column {role!r}; it has {', '.join(there)}. Name it with --columns {role}=COLUMN"
            )
    return names


def _ambiguous(cells: Iterable[Any]) -> set[str]:
    """Names of files that a table gives with several endings: "a" of "a.mp4" and "a.avi", which are two videos."""
    endings: dict[str, set[str]] = {}
    for cell in cells:
        with contextlib.suppress(BadCell):  # reported with its row
            place = _place(name_cell(cell))
            ending = place.name[len(stem(place.name)) :].lower()
            endings.setdefault(_without_ending(place), set()).add(ending)
    return {name for name, found in endings.items() if len(found - {""}) > 1}


def _add_row(
    videos: dict[str, _Video],
    row: Row,
    names: Mapping[str, str],
    where: str,
    faults: CellFaults,
    ambiguous: set[str],
) -> None:
    def cell(role: str, convert: Any) -> Any:
        try:
            return convert(row.get(names[role]))
        except BadCell as error:
            faults.add(where, names[role], error)
            return None

    file, texts = cell("video", name_cell), cell("caption", text_cells)
    start = cell("start", seconds_cell) if "start" in names else None
    end = cell("end", seconds_cell) if "end" in names else None
    split = cell("split", _split) if "split" in names else "train"
    caption_id = cell("id", name_cell) if "id" in names else None
    clip = None if start is None and end is None else (start or 0.0, end)
    if clip is not None and clip[1] is not None and not clip[0] < clip[1]:
        faults.add(where, names["end"], BadCell(f"{clip[1]:g}, which is not after the start {clip[0]:g}"))
    if file is None or texts is None or split is None:
        return
    video_id = _video_id(file, clip, ambiguous)
    video = videos.setdefault(video_id, _Video(file, clip))
    captions = video.splits.setdefault(split, [])
    for position, text in enumerate(texts):
        if caption_id is None:
            name = f"{video_id}#{video.captions}"
        else:
            name = str(caption_id) if len(texts) == 1 else f"{caption_id}#{position}"
        captions.append((name, text))
        video.captions += 1


def _split(value: Any) -> str:
    name = name_cell(value)
    if name.lower() not in SPLITS:
        raise BadCell(f"{name!r}; the splits are train, val and test")
    return SPLITS[name.lower()]


def _video_id(file: str, clip: tuple[float, float | None] | None, ambiguous: set[str]) -> str:
    """The name of the file with its folders, with its ending if another file differs in that alone; and the part."""
    place = _place(file)
    name = _without_ending(place)
    name = str(place) if name in ambiguous else name
    if clip is None:
        return name
    return f"{name}_{clip[0]:g}_{'end' if clip[1] is None else f'{clip[1]:g}'}"


def _place(file: str) -> PurePosixPath:
    return PurePosixPath(file.replace("\\", "/"))


def _without_ending(place: PurePosixPath) -> str:
    return str(place.with_name(stem(place.name))) if place.name else str(place)
