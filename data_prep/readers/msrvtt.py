"""Reader of MSR-VTT: its JSON format of captions (also written by MovingShapes) and the lists of its splits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.annotations import Annotations, VideoEntry, first_few, require_file, require_folder
from data_prep.cells import BadCell, CellFaults, text_cell
from data_prep.readers.files import Gathering, read_table, read_text
from eaglenet_jax.errors import UserError

SPLIT_NAMES = {"validate": "val"}
ONE_FILE = ("MSRVTT_data.json", "MSR-VTT.json", "MSR_VTT.json")
TWO_FILES = ("train_val_videodatainfo.json", "test_videodatainfo.json")
TRAIN_LISTS = {"1ka-9k": "MSRVTT_train.9k.csv", "1ka-7k": "MSRVTT_train.7k.csv"}
TEST_1KA = "MSRVTT_JSFUSION_test.csv"


def read_msrvtt(folder: Path, variant: str) -> Annotations:
    """Read the annotation files of MSR-VTT.

    Args:
        folder: Folder of the files.
        variant: "1ka-9k" and "1ka-7k" (1,000 test videos, one sentence each), or "full" (the official split).
    """
    found = Gathering(folder)
    json_file = found.find("captions", *ONE_FILE, *TWO_FILES)
    if json_file is None:
        raise UserError(f"{folder} has no captions of MSR-VTT: {ONE_FILE[0]}, or {' and '.join(TWO_FILES)}")
    contents = [_content(json_file)]
    if json_file.name in TWO_FILES:
        other = found.find("captions", TWO_FILES[1 - TWO_FILES.index(json_file.name)])
        if other is None:
            raise UserError(f"{folder} has only {json_file.name}; MSR-VTT in two parts needs {' and '.join(TWO_FILES)}")
        contents.append(_content(other))
    split_of: dict[str, str] = {}
    captions: dict[str, list[str]] = {}
    for videos, sentences in contents:
        split_of |= dict(videos)
        for video_id, _, text, _ in sentences:
            captions.setdefault(video_id, []).append(text)
    official = {split: [name for name in split_of if split_of[name] == split] for split in ("train", "val", "test")}
    found.facts = {f"official {split} videos": len(ids) for split, ids in official.items()}
    found.facts["official captions"] = sum(map(len, captions.values()))
    if variant == "full":
        for split, ids in official.items():
            found.add_listed(split, ids, captions)
        return found.annotations()
    train, test = found.find("train", TRAIN_LISTS[variant]), found.find("test", TEST_1KA)
    if train is not None:
        found.add_listed("train", [row["video_id"] for row in read_table(train, "video_id")], captions)
    if test is not None:
        rows = read_table(test, "key", "video_id", "sentence")
        found.add("test", [(row["video_id"], ((row["key"], row["sentence"]),)) for row in rows])
        literal = sum(row["sentence"] in captions.get(row["video_id"], ()) for row in rows)
        found.facts["test sentences that occur literally among the video's captions"] = literal
        found.facts["test sentences that differ in form"] = len(rows) - literal
    return found.annotations()


def read_msrvtt_json(annotations_json: Path, videos_dir: Path) -> list[VideoEntry]:
    """Read an annotation file in MSR-VTT's JSON format.

    `videos[].video_id` names `videos_dir/{video_id}.mp4`; the split "validate" is called "val"; a caption's id is "sen"
    and its `sen_id`. A sentence may have an "interval" besides, [start, end] in seconds: the part that it describes.

    Returns:
        Entries in the file's order of videos, captions in its order of sentences.

    Raises:
        UserError: The file or folder is missing, the file has another format, or a sentence belongs to an unlisted
            video.
    """
    require_file(annotations_json, "annotation file")
    require_folder(videos_dir, "video")
    videos, sentences = _content(annotations_json)
    captions: dict[str, list[tuple[str, str]]] = {video_id: [] for video_id, _ in videos}
    intervals: dict[str, dict[str, tuple[float, float]]] = {video_id: {} for video_id, _ in videos}
    for video_id, caption_id, text, interval in sentences:
        captions[video_id].append((caption_id, text))
        if interval is not None:
            intervals[video_id][caption_id] = interval
    return [
        VideoEntry(video_id, videos_dir / f"{video_id}.mp4", split, tuple(captions[video_id]), intervals[video_id])
        for video_id, split in videos
    ]


def _content(
    path: Path,
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str, tuple[float, float] | None]]]:
    """Read (video id, split) and (video id, caption id, text, interval), both in the file's order."""
    faults = CellFaults(path)
    try:
        content = json.loads(read_text(path))
        videos = [(str(video["video_id"]), str(video["split"])) for video in content["videos"]]
        sentences = [
            (str(s["video_id"]), f"sen{s['sen_id']}", _caption(s, faults), _interval(s)) for s in content["sentences"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not in MSR-VTT's form ({type(error).__name__}: {error}); expected"
            ' {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption", "sen_id"}]}; a sentence may'
            ' have "interval": [start, end] in seconds.'
        ) from error
    faults.check()
    listed = {video_id for video_id, _ in videos}
    unknown = sorted({video_id for video_id, *_ in sentences if video_id not in listed})
    if unknown:
        raise UserError(f"{path}: sentences about videos that it does not list: {first_few(unknown)}.")
    return [(video_id, SPLIT_NAMES.get(split, split)) for video_id, split in videos], sentences


def _caption(sentence: Mapping[str, Any], faults: CellFaults) -> str:
    try:
        return text_cell(sentence["caption"])
    except BadCell as error:
        if isinstance(sentence["caption"], str) and not sentence["caption"].split():
            return ""  # left out and counted, as in every dataset
        faults.add(f"sentence {sentence['sen_id']}", "caption", error)
        return ""


def _interval(sentence: Mapping[str, Any]) -> tuple[float, float] | None:
    if "interval" not in sentence:
        return None
    start, end = sentence["interval"]
    return float(start), float(end)
