"""Clips of several events: what follows what, what captions tell of, and when it is seen."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import pytest

from data_prep.demo import DemoData, ensure_moving_shapes
from data_prep.moving_shapes.captions import captions, parse
from data_prep.moving_shapes.drawing import RGB
from data_prep.moving_shapes.events import Events, draw_event_clips, event_captions
from data_prep.moving_shapes.flags import events_flags
from data_prep.moving_shapes.render import Shot, describe, render
from data_prep.moving_shapes.scenes import draw_split, split_of
from data_prep.syntax.parsing import grammar_parser
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError
from tests.data_prep.test_moving_shapes_scenes import attributes, fits

THREE = Events(3, distractors=0.5, pairs=0.3)


@pytest.fixture(scope="module")
def described() -> tuple[dict, dict[str, tuple[Shot, ...]]]:
    return describe({"train": 60, "test": 150}, seed=0, events=THREE)


def test_one_event_is_the_data_of_before() -> None:
    assert [clip.scenes for clip in draw_event_clips("test", 20, 0, Events())] == [
        (scene,) for scene in draw_split("test", 20, 0)
    ]
    rngs = [np.random.default_rng(3) for _ in range(2)]
    (scene,) = draw_split("train", 1, 0)
    assert [c.text for c in event_captions([scene], 0, Events(), rngs[0])] == list(captions(scene, rngs[1]))
    assert "events" not in json.dumps(describe({"test": 2}, seed=0)[0])


@pytest.mark.parametrize("count", [2, 6])
def test_all_events_of_a_split_differ_and_belong_to_it(count: int) -> None:
    clips = draw_event_clips("test", 40, 5, Events(count, distractors=0.5))
    scenes = [scene for clip in clips for scene in clip.scenes]
    assert len(set(scenes)) == len(scenes) == 40 * count
    assert {split_of(scene, 5) for scene in scenes} == {"test"}
    present = set(scenes)
    assert np.mean([scene.twin() in present for scene in scenes]) > 0.05, "twins are in other clips"


def test_the_first_caption_fits_its_event_and_no_other_of_the_split(described: tuple) -> None:
    content, shots = described
    shown = {
        (name, place): dataclasses.asdict(shot.scene)
        for name, filmed in shots.items()
        if name.startswith("test")
        for place, shot in enumerate(filmed)
    }
    seen = set()
    for sentence in content["sentences"]:
        video_id = sentence["video_id"]
        if not video_id.startswith("test") or video_id in seen:
            continue
        seen.add(video_id)
        found = attributes(sentence["caption"])
        assert {"size", "background"} <= found.keys()
        assert [place for place in shown if fits(found, shown[place])] == [(video_id, sentence["events"][0])]
    assert len(seen) == 150


def test_the_told_event_stands_at_every_position_as_often() -> None:
    places = collections.Counter(clip.first for clip in draw_event_clips("train", 600, 0, Events(3)))
    assert set(places) == {0, 1, 2}
    assert all(abs(count - 200) < 50 for count in places.values()), places  # four deviations


def test_captions_say_what_is_seen_in_their_interval(described: tuple) -> None:
    content, shots = described
    videos = {video["video_id"]: video for video in content["videos"]}
    told = collections.Counter()
    for sentence in content["sentences"]:
        filmed, events = shots[sentence["video_id"]], sentence["events"]
        clauses = sentence["caption"].split(", then ")
        assert len(clauses) == len(events)
        for clause, event in zip(clauses, events, strict=True):
            assert fits(attributes(clause), dataclasses.asdict(filmed[event].scene))
        bounds = np.concatenate([[0.0], np.cumsum([shot.seconds for shot in filmed])])
        assert sentence["interval"] == pytest.approx([bounds[events[0]], bounds[events[-1] + 1]], abs=1e-3)
        listed = videos[sentence["video_id"]]["events"]
        assert [listed[events[0]]["start"], listed[events[-1]]["end"]] == sentence["interval"]
        told[len(events)] += 1
    assert told[2] / (told[1] + told[2]) == pytest.approx(0.3 * 4 / 5, abs=0.05)


def test_every_event_of_a_clip_is_told_at_least_once() -> None:
    content, _ = describe({"train": 20}, seed=0, events=Events(5))
    told = collections.defaultdict(set)
    for sentence in content["sentences"]:
        told[sentence["video_id"]].update(sentence["events"])
    assert all(events == {0, 1, 2, 3, 4} for events in told.values())


def test_distractors_share_shape_colour_and_background_with_the_told_event() -> None:
    def share(chance: float) -> float:
        clips = draw_event_clips("train", 80, 0, Events(4, distractors=chance))
        alike = [
            (s.shape, s.color, s.background) == (t.shape, t.color, t.background)
            for clip in clips
            for t in [clip.scenes[clip.first]]
            for place, s in enumerate(clip.scenes)
            if place != clip.first
        ]
        return float(np.mean(alike))

    assert share(0.0) < 0.05
    assert share(0.5) == pytest.approx(0.5, abs=0.12)
    assert share(1.0) == 1.0


def test_paragraphs_tell_of_all_events_in_order() -> None:
    content, shots = describe({"test": 5}, seed=0, events=Events(4, paragraph=True))
    for sentence in content["sentences"]:
        filmed = shots[sentence["video_id"]]
        assert sentence["events"] == [0, 1, 2, 3]
        assert sentence["interval"] == [0.0, pytest.approx(sum(shot.seconds for shot in filmed), abs=1e-3)]
        for clause, shot in zip(sentence["caption"].split(", then "), filmed, strict=True):
            assert fits(attributes(clause), dataclasses.asdict(shot.scene))


def test_nouns_belong_to_the_verb_of_their_own_clause() -> None:
    text = "a small red disc is moving left on a gray background, then a blue box grows"
    (syntax,) = grammar_parser([text])
    spelled = [text[slice(*span)] for span in syntax.nouns]
    assert [text[slice(*span)] for span in syntax.verbs] == ["moving", "grows"]
    assert spelled == ["disc", "background", "box"]
    assert syntax.noun_verb == (0, 0, 1)
    assert [spelled[noun] for noun in syntax.adjective_noun] == ["disc", "disc", "background", "box"]
    assert len(parse(text).noun_verb) == 3


def test_files_show_each_event_at_its_time(tmp_path: Path) -> None:
    annotations = json.loads(render(tmp_path, splits={"test": 6}, events=Events(3), progress=False).read_text())
    _, shots = describe({"test": 6}, seed=0, events=Events(3))
    for video in annotations["videos"]:
        filmed = shots[video["video_id"]]
        with av.open(str(tmp_path / "videos" / f"{video['video_id']}.mp4")) as container:
            frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert len(frames) == sum(shot.clip.frames for shot in filmed)
        for event, shot in zip(video["events"], filmed, strict=True):
            assert 1.05 < event["end"] - event["start"] < 1.65
            middle = (event["start"] + event["end"]) / 2
            corner = min(frames, key=lambda frame: abs(frame[0] - middle))[1][1, 1].astype(float)
            if shot.scene.background != "striped":
                shown = np.array(RGB[shot.scene.background]) * 1.1 * shot.clip.brightness
                assert np.abs(corner - np.minimum(shown, 255)).max() < 25
    with pytest.raises(UserError, match="another seed, version, events or splits"):
        render(tmp_path, splits={"test": 6}, events=Events(2), progress=False)


def test_prepared_data_know_the_intervals_and_their_folder_is_their_own(tmp_path: Path) -> None:
    data = DemoData(tmp_path, {"train": 2, "validate": 1, "test": 1}, events=Events(2, pairs=1.0))
    folder = ensure_moving_shapes(data, progress=False)
    sentences = json.loads((data.source / "annotations.json").read_text())["sentences"]
    intervals = PreparedDataset.open(folder).split("train").captions.intervals
    np.testing.assert_allclose(intervals, [s["interval"] for s in sentences if s["video_id"].startswith("train")])
    assert data.folder != DemoData(tmp_path, data.splits, events=Events(2)).folder
    assert events_flags(data.events) == " --events=2 --distractors=0 --pairs=1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 7}, "1 to 6 events, not 7"),
        ({"count": 2, "pairs": 1.5}, "pairs is a chance from 0 to 1"),
        ({"distractors": 0.5}, "need clips of two events or more"),
        ({"count": 2, "pairs": 0.5, "paragraph": True}, "leave out pairs or paragraph"),
    ],
)
def test_values_out_of_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Events(**values)
