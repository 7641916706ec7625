from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from data_prep.annotations import VideoEntry, check_entries
from data_prep.readers.msrvtt import read_msrvtt_json
from eaglenet_jax.errors import UserError


def write(folder: Path, videos: list[dict], sentences: list[dict]) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))
    return path


def entry(video_id: str, *captions: tuple[str, str]) -> VideoEntry:
    return VideoEntry(video_id, Path(f"{video_id}.mp4"), "train", captions)


def test_msrvtt_form_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    videos = [{"video_id": "video7", "split": "validate", "id": 7}, {"video_id": "video2", "split": "train", "id": 2}]
    sentences = [
        {"video_id": "video2", "caption": "a dog runs", "sen_id": 0},
        {"video_id": "video7", "caption": "a cat sits", "sen_id": 1},
        {"video_id": "video2", "caption": "the dog", "sen_id": 2},
    ]
    assert read_msrvtt_json(write(tmp_path, videos, sentences), tmp_path) == [
        VideoEntry("video7", tmp_path / "video7.mp4", "val", (("sen1", "a cat sits"),)),
        VideoEntry("video2", tmp_path / "video2.mp4", "train", (("sen0", "a dog runs"), ("sen2", "the dog"))),
    ]


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no annotation file .*nothing\.json"):
        read_msrvtt_json(tmp_path / "nothing.json", tmp_path)
    with pytest.raises(UserError, match=r"there is no video folder .*absent"):
        read_msrvtt_json(write(tmp_path, [], []), tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"videos": [{}], "sentences": []}', '{"videos": 3}'])
def test_a_file_of_another_form_is_refused_with_the_form_expected(tmp_path: Path, content: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"is not in MSR-VTT's form .* expected \{\"videos\""):
        read_msrvtt_json(path, tmp_path)


def test_a_sentence_about_an_unlisted_video_is_refused(tmp_path: Path) -> None:
    sentence = {"video_id": "video9", "caption": "a dog runs", "sen_id": 0}
    with pytest.raises(UserError, match="videos that it does not list: video9"):
        read_msrvtt_json(write(tmp_path, [], [sentence]), tmp_path)


def test_a_sentence_may_say_which_part_of_the_video_it_describes(tmp_path: Path) -> None:
    videos = [{"video_id": "a", "split": "train"}, {"video_id": "b", "split": "train"}]
    sentences = [
        {"video_id": "b", "caption": "a dog runs", "sen_id": 0, "interval": [1, 2.5]},
        {"video_id": "a", "caption": "a cat", "sen_id": 1},
    ]
    first, second = read_msrvtt_json(write(tmp_path, videos, sentences), tmp_path)
    assert first.intervals == {} and second.intervals == {"sen0": (1.0, 2.5)}
    sentences[0]["interval"] = [1, 2, 3]
    with pytest.raises(UserError, match=r"is not in MSR-VTT's form .* \[start, end\] in seconds"):
        read_msrvtt_json(write(tmp_path, videos, sentences), tmp_path)


@pytest.mark.parametrize("interval", [(2.0, 2.0), (-1.0, 2.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_intervals_that_are_none_are_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"interval of caption c0 \(video a\) is .*later end"):
        check_entries([dataclasses.replace(entry("a", ("c0", "x")), intervals={"c0": interval})])
    with pytest.raises(UserError, match="video a has intervals of captions that it has not: c1"):
        check_entries([dataclasses.replace(entry("a", ("c0", "x")), intervals={"c1": (0.0, 1.0)})])


def test_captions_of_zero_words_are_refused_by_their_id() -> None:
    with pytest.raises(UserError, match=r"2 captions without words: c1 \(video a\), c3 \(video b\)"):
        check_entries([entry("a", ("c0", "fine"), ("c1", "")), entry("b", ("c3", " \t\n"))])


def test_repeated_ids_videos_without_captions_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(UserError, match="1 video id given more than once: a"):
        check_entries([entry("a", ("c0", "x")), entry("a", ("c1", "x"))])
    elsewhere = dataclasses.replace(entry("a", ("c1", "x")), split="other")
    with pytest.raises(UserError, match=r"1 video in several splits: a \(\w+ and other\)\. Give each video one"):
        check_entries([entry("a", ("c0", "x")), elsewhere])
    with pytest.raises(UserError, match="1 caption id given more than once: c0"):
        check_entries([entry("a", ("c0", "x")), entry("b", ("c0", "y"))])
    with pytest.raises(UserError, match="5 videos without a caption: v0, v1, v2 and 2 more"):
        check_entries([entry(f"v{i}") for i in range(5)])
    with pytest.raises(UserError, match="name no video"):
        check_entries([])


def test_five_hundred_words_are_fine() -> None:
    check_entries([entry("a", ("c0", "word " * 500))])
