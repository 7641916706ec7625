"""Ids, file names and annotation files of a small artificial dataset, in each dataset's true format."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Split → (video id, twenty captions).
Splits = Mapping[str, Sequence[tuple[str, Sequence[str]]]]

_LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_FIRST_OF_SPLIT = {"train": 0, "val": 6513, "test": 7010}
DIDEMO_SUFFIXES = (".mov", ".avi", ".mp4", ".3gp", ".m4v", ".", "")
CONTAINERS = {".avi": "avi", ".mov": "mov", ".3gp": "3gp", ".mkv": "matroska"}


def _youtube(rng: np.random.Generator) -> str:
    return "".join(rng.choice(_LETTERS, 11))


def video_id(dataset: str, split: str, index: int, rng: np.random.Generator) -> str:
    """Return an id in the dataset's format, drawn from rng; MSR-VTT's are numbered."""
    start = int(rng.integers(100))
    if dataset == "msrvtt":
        return f"video{_FIRST_OF_SPLIT[split] + index}"
    if dataset == "msvd":
        return f"{_youtube(rng)}_{start}_{start + 4}"
    if dataset == "didemo":
        return f"{rng.integers(10**7, 10**8)}@N0{start % 10}_{rng.integers(10**9, 10**10)}_{rng.bytes(5).hex()}"
    if dataset == "vatex":
        return f"{_youtube(rng)}_{start:06d}_{start + 10:06d}"
    if dataset == "activitynet":
        return f"v_{_youtube(rng)}"
    if dataset == "lsmdc":
        return f"{3001 + index % 3}_DRAWN_FILM_00.{start % 60:02d}.{index % 60:02d}.170-00.{start % 60:02d}.59.675"
    return "".join(rng.choice(_LETTERS[:26] + _LETTERS[52:62], 5))


def file_name(dataset: str, name: str, index: int) -> str:
    """Return the path of a video below the folder of videos."""
    if dataset == "didemo":
        return name + DIDEMO_SUFFIXES[index % len(DIDEMO_SUFFIXES)]
    if dataset == "lsmdc":
        return f"{name.rpartition('_')[0]}/{name}.avi"
    return name + {"msvd": ".avi", "activitynet": (".mp4", ".mkv")[index % 2]}.get(dataset, ".mp4")


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _lists(folder: Path, splits: Splits) -> None:
    for split, videos in splits.items():
        _lines(folder / f"{split}_list.txt", (name for name, _ in videos))


def _msrvtt(folder: Path, splits: Splits) -> None:
    rows = [(split, name, texts) for split, videos in splits.items() for name, texts in videos]
    names = {"val": "validate"}
    videos = [{"video_id": name, "split": names.get(split, split), "category": 0} for split, name, _ in rows]
    sentences = [(name, text) for _, name, texts in rows for text in texts]
    content = [{"caption": text, "video_id": name, "sen_id": i} for i, (name, text) in enumerate(sentences)]
    _json(folder / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": content})
    test = splits["test"][: max(1, len(splits["test"]) * 3 // 4)]
    in_test = {name for name, _ in test}
    _lines(folder / "MSRVTT_train.9k.csv", ["video_id", *(name for _, name, _ in rows if name not in in_test)])
    _lines(folder / "MSRVTT_train.7k.csv", ["video_id", *(name for split, name, _ in rows if split != "test")])
    table = [(f"ret{i}", name.replace("video", "msr"), name, texts[0]) for i, (name, texts) in enumerate(test)]
    _table(folder / "MSRVTT_JSFUSION_test.csv", [("key", "vid_key", "video_id", "sentence"), *table])


def _msvd(folder: Path, splits: Splits) -> None:
    words = {name: [text.split() for text in texts] for videos in splits.values() for name, texts in videos}
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(words, protocol=2))
    _lists(folder, splits)


def _didemo(folder: Path, splits: Splits) -> None:
    header = ("success", "video_path", "starts", "ends", "text", "formatted_data")
    for split, videos in splits.items():
        files = [(file_name("didemo", name, i), texts[:3]) for i, (name, texts) in enumerate(videos)]
        rows = [(True, f"/videos/{file}", "tensor([[0]])", "tensor([[31]])", " ".join(t), "") for file, t in files]
        _table(folder / f"didemo_{split}_label.csv", [header, *rows])
        moments = [{"video": file, "description": text, "num_segments": 6} for file, texts in files for text in texts]
        _json(folder / f"{split}_data.json", moments)
        _lines(folder / f"{split}_list.txt", (file for file, _ in files))


def _vatex(folder: Path, splits: Splits) -> None:
    for file, parts in (("vatex_training_v1.0.json", ["train"]), ("vatex_validation_v1.0.json", ["val", "test"])):
        videos = [video for split in parts for video in splits[split]]
        _json(folder / file, [{"videoID": name, "enCap": list(texts[:10]), "chCap": []} for name, texts in videos])
    _lists(folder, splits)
    mixed = [splits[split][i][0] for i, _ in enumerate(splits["val"]) for split in ("val", "test")]
    _lines(folder / "test1k5_sec_list.txt", mixed[: len(splits["test"])])


def _activitynet(folder: Path, splits: Splits) -> None:
    for file, split, first in (("train", "train", 0), ("val_1", "test", 0), ("val_2", "test", 3)):
        times = {"duration": 3.0, "timestamps": [[0, 1], [1, 2], [2, 3]]}
        sentences = {name: [f" {text}." for text in texts[first : first + 3]] for name, texts in splits[split]}
        _json(folder / f"{file}.json", {name: {**times, "sentences": texts} for name, texts in sentences.items()})


def _lsmdc(folder: Path, splits: Splits) -> None:
    names = {"train": ["annos_training"], "val": ["annos_val"], "test": ["annos_test", "challenge_1000_publictect"]}
    for split, videos in splits.items():
        rows = [f"{name}\t0\t1\t0\t1\t{texts[0]}" for name, texts in videos]
        for part in names[split]:
            _lines(folder / f"LSMDC16_{part}.csv", rows)


def _charades(folder: Path, splits: Splits) -> None:
    columns = "id subject scene quality relevance verified script objects descriptions actions length"
    for split, videos in splits.items():
        rows = [(name, "X", "Room", 6, 7, "Yes", t[0], "box", ";".join(t[1:3]), "", 3.0) for name, t in videos]
        _table(folder / f"Charades_v1_{split}.csv", [columns.split(), *rows])


WRITERS: Mapping[str, Callable[[Path, Splits], None]] = {
    "msrvtt": _msrvtt,
    "msvd": _msvd,
    "didemo": _didemo,
    "vatex": _vatex,
    "activitynet": _activitynet,
    "lsmdc": _lsmdc,
    "charades": _charades,
}
