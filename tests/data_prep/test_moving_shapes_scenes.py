from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data_prep.moving_shapes.captions import (
    BACKGROUND_NOUNS,
    RELATION_WORDS,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    VERB_PHRASES,
    captions,
    parse,
)
from data_prep.moving_shapes.render import DEFAULT_SPLITS, describe
from data_prep.moving_shapes.scenes import BACKGROUNDS, COLORS, STRAIGHT, Scene, draw_scene, draw_split, draw_splits
from eaglenet_jax.errors import UserError

COUNTS = DEFAULT_SPLITS | {"test_1k": 1000}


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return draw_splits(COUNTS, seed=0)


SHAPE_OF = {noun: shape for shape, nouns in SHAPE_NOUNS.items() for noun in nouns}
SIZE_OF = {word: size for size, names in SIZE_ADJECTIVES.items() for word in names}
MOTION_AND_RELATION_OF = {
    tuple(f"{verb} {particle} {relation_words}".split()): (motion, relation)
    for motion, phrases in VERB_PHRASES.items()
    for *verbs, particle in phrases
    for verb in verbs
    for relation, choices in {**RELATION_WORDS, "alone": ("",)}.items()
    for relation_words in choices
    if (relation == "target") == (motion in ("approach", "leave"))
}


def attributes(text: str) -> dict[str, str]:
    """Parse a caption by the order of its words, independently of the code that wrote it."""
    words = text.split()
    found = {}
    nouns = [i for i, word in enumerate(words) if word in SHAPE_OF]
    for prefix, noun in zip(("", "other_"), nouns, strict=False):
        found |= {f"{prefix}shape": SHAPE_OF[words[noun]], f"{prefix}color": words[noun - 1]}
    if words[nouns[0] - 2] in SIZE_OF:
        found["size"] = SIZE_OF[words[nouns[0] - 2]]
    grounds = [i for i, word in enumerate(words) if word in BACKGROUND_NOUNS]
    end = len(words)
    if grounds:
        found["background"] = words[grounds[0] - 1]
        end = grounds[0] - 3 if grounds[0] > nouns[0] else end  # "on a … background" stands last
    if len(nouns) > 1:
        end = nouns[1] - 2  # "a … square"
    middle = tuple(word for word in words[nouns[0] + 1 : end] if word != "is")
    found["motion"], found["relation"] = MOTION_AND_RELATION_OF[middle]
    return found


def fits(found: dict[str, str], shown: dict[str, str | None]) -> bool:
    """Return whether nothing in the caption contradicts the clip."""
    if found["relation"] == "alone":  # says nothing of a second shape, nor of what the motion aims at
        found = {name: value for name, value in found.items() if name != "relation"}
        if shown["relation"] == "target" and found["motion"] in STRAIGHT:
            del found["motion"]
    return all(shown[name] == value for name, value in found.items())


def test_no_two_splits_share_a_combination(scenes: dict[str, list[Scene]]) -> None:
    assert {split: len(set(split_scenes)) for split, split_scenes in scenes.items()} == COUNTS
    assert len(set().union(*scenes.values())) == sum(COUNTS.values())


def test_a_split_does_not_depend_on_the_others_nor_on_its_size() -> None:
    assert draw_split("test", 40, seed=0) == draw_splits({"train": 10, "test": 200}, seed=0)["test"][:40]


def test_the_seed_decides() -> None:
    assert draw_split("train", 50, seed=3) == draw_split("train", 50, seed=3)
    assert draw_split("train", 50, seed=3) != draw_split("train", 50, seed=4)


def test_every_single_attribute_occurs_in_training(scenes: dict[str, list[Scene]]) -> None:
    for field in dataclasses.fields(Scene):
        seen = {getattr(scene, field.name) for scene in scenes["train"]}
        for split in ("validate", "test", "test_1k"):
            assert {getattr(scene, field.name) for scene in scenes[split]} <= seen


def test_about_half_of_the_clips_have_a_twin_that_runs_backwards(scenes: dict[str, list[Scene]]) -> None:
    for split_scenes in scenes.values():
        present = set(split_scenes)
        share = np.mean([scene.twin() in present for scene in split_scenes])
        assert 0.4 < share < 0.6


def test_first_captions_are_distinct_and_fit_only_their_own_clip(scenes: dict[str, list[Scene]]) -> None:
    content, shots = describe(DEFAULT_SPLITS, seed=0)
    first: dict[str, str] = {}
    for sentence in content["sentences"] + describe({"test_1k": 1000}, seed=0)[0]["sentences"]:
        first.setdefault(sentence["video_id"], sentence["caption"])
    for split in COUNTS:
        told = [text for video_id, text in first.items() if video_id.rpartition("_")[0] == split]
        assert len(set(told)) == len(told) == COUNTS[split]
    with pytest.raises(UserError, match="test_1k and test are both called test"):
        describe(COUNTS, seed=0)
    for split in ("validate", "test"):
        shown = {
            name: dataclasses.asdict(shot.scene) for name, (shot,) in shots.items() if name.startswith(f"{split}_0")
        }
        assert len(shown) == COUNTS[split]
        for video_id in shown:
            found = attributes(first[video_id])
            assert [other for other in shown if fits(found, shown[other])] == [video_id], first[video_id]


def test_a_shape_alone_is_never_also_seen_beside_another_in_its_split(scenes: dict[str, list[Scene]]) -> None:
    for split_scenes in scenes.values():
        alone = {(s.shape, s.color, s.size, s.background, s.motion) for s in split_scenes if s.relation == "alone"}
        for s in split_scenes:
            motions = STRAIGHT if s.relation == "target" else (s.motion,)  # it goes straight, nobody says where to
            if s.relation != "alone":
                assert alone.isdisjoint((s.shape, s.color, s.size, s.background, motion) for motion in motions)


def test_no_caption_says_anything_wrong(scenes: dict[str, list[Scene]]) -> None:
    rng = np.random.default_rng(5)
    for scene in scenes["validate"]:
        texts = captions(scene, rng)
        assert len(set(texts)) == 5
        for text in texts:
            assert fits(attributes(text), dataclasses.asdict(scene)), (text, scene)


def test_parse_of_a_caption_written_by_hand() -> None:
    text = "on a striped background a small red disc is moving left behind a blue box"
    words = text.split()
    found = parse(text)
    assert [words[i] for i in found.verbs] == ["moving"]
    assert [words[i] for i in found.nouns] == ["background", "disc", "box"]
    assert [words[i] for i in found.adjectives] == ["striped", "small", "red", "blue"]
    assert [(words[a], words[n]) for a, n in found.adjective_noun] == [
        ("striped", "background"),
        ("small", "disc"),
        ("red", "disc"),
        ("blue", "box"),
    ]
    assert [(words[n], words[v]) for n, v in found.noun_verb] == [
        ("background", "moving"),
        ("disc", "moving"),
        ("box", "moving"),
    ]


def test_every_caption_has_one_verb_and_every_word_one_part_of_speech() -> None:
    verbs = {form for phrases in VERB_PHRASES.values() for phrase in phrases for form in phrase[:2]}
    nouns = set(BACKGROUND_NOUNS).union(*SHAPE_NOUNS.values())
    adjectives = set(COLORS + BACKGROUNDS).union(*SIZE_ADJECTIVES.values())
    assert not verbs & nouns and not verbs & adjectives and not nouns & adjectives
    rng = np.random.default_rng(1)
    for _ in range(300):
        for text in captions(draw_scene(rng), rng):
            found = parse(text)
            assert len(found.verbs) == 1
            assert 1 <= len(found.nouns) <= 3
            assert len(found.adjective_noun) == len(found.adjectives)
            assert len(found.noun_verb) == len(found.nouns)


def test_unknown_split_and_too_many_clips_are_refused() -> None:
    with pytest.raises(UserError, match="no split 'val'"):
        draw_split("val", 3, seed=0)
    with pytest.raises(UserError, match=r"has room for [0-9]+ events, not 10000000"):
        draw_split("test", 10_000_000, seed=0)
