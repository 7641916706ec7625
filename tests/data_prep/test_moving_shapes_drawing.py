"""Drawing, measured in the pictures and not read from the code that drew them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data_prep.moving_shapes.drawing import RGB, SIDES, Clip, draw_clip, draw_frames
from data_prep.moving_shapes.scenes import MOTIONS_BY_RELATION, Scene, draw_scene

CLIP = Clip(width=96, height=72, frames=13, rate=(10, 1), offset=(0.3, 0.6), phase=0.2, brightness=1.0)


def pictures(scene: Scene, clip: Clip = CLIP) -> np.ndarray:
    return np.stack([np.asarray(frame, np.float32) for frame in draw_frames(scene, clip)])


def where(color: str, frames: np.ndarray) -> np.ndarray:
    return np.abs(frames - np.array(RGB[color], np.float32)).max(-1) < 40


def centre(mask: np.ndarray) -> np.ndarray:
    """[N, H, W] → centre of mass (x, y) of every frame, [N, 2]."""
    y, x = np.mgrid[: mask.shape[1], : mask.shape[2]]
    return np.stack([(mask * axis).sum((1, 2)) / mask.sum((1, 2)) for axis in (x, y)], -1)


def scene(motion: str, relation: str = "alone", size: str = "small") -> Scene:
    other = (None, None) if relation == "alone" else ("square", "green")
    return Scene("circle", "red", size, motion, "black", relation, *other)


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
@pytest.mark.parametrize("relation", ["alone", "beside", "before"])
def test_straight_motion_goes_where_its_name_says(motion: str, axis: int, sign: int, relation: str) -> None:
    path = centre(where("red", pictures(scene(motion, relation))))
    assert (sign * np.diff(path[:, axis]) > 0).all()
    assert np.ptp(path[:, axis]) > 0.6 * CLIP.height
    assert np.ptp(path[:, 1 - axis]) < 1


@pytest.mark.parametrize(("motion", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
@pytest.mark.parametrize("relation", ["alone", "around"])
def test_circling_turns_once_the_way_its_name_says(motion: str, sign: int, relation: str) -> None:
    path = centre(where("red", pictures(scene(motion, relation)))) - [(CLIP.width - 1) / 2, (CLIP.height - 1) / 2]
    angles = np.unwrap(np.arctan2(path[:, 1], path[:, 0]))  # y points down, so growing angles run clockwise
    assert (sign * np.diff(angles) > 0).all()
    assert abs(angles[-1] - angles[0]) == pytest.approx(2 * np.pi, abs=0.1)


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_growing_and_shrinking_change_the_area(motion: str, sign: int) -> None:
    area = where("red", pictures(scene(motion))).sum((1, 2))
    assert (sign * np.diff(area) >= 0).all()
    assert max(area) > 5 * min(area)


@pytest.mark.parametrize(("motion", "sign"), [("appear", 1), ("vanish", -1)])
def test_appearing_and_vanishing_change_the_contrast(motion: str, sign: int) -> None:
    redness = pictures(scene(motion))[..., 0].max((1, 2))
    assert (sign * np.diff(redness) >= 0).all()
    assert redness.max() > 220 and redness.min() < 20


def test_blinking_is_on_and_off_several_times() -> None:
    visible = where("red", pictures(scene("blink"))).any((1, 2))
    assert 3 <= np.count_nonzero(np.diff(visible.astype(int))) <= 6


def test_bouncing_turns_round_several_times_and_stays_in_place_sideways() -> None:
    path = centre(where("red", pictures(scene("bounce"), dataclasses.replace(CLIP, frames=60))))
    assert np.count_nonzero(np.diff(np.sign(np.diff(path[:, 1]))) != 0) >= 4
    assert np.ptp(path[:, 0]) < 1


@pytest.mark.parametrize(("motion", "sign"), [("approach", -1), ("leave", 1)])
@pytest.mark.parametrize("phase", [0.1, 0.3, 0.6, 0.9])
def test_approaching_and_leaving_change_the_distance(motion: str, sign: int, phase: float) -> None:
    frames = pictures(scene(motion, "target"), dataclasses.replace(CLIP, phase=phase))
    distance = np.linalg.norm(centre(where("red", frames)) - centre(where("green", frames)), axis=-1)
    assert (sign * np.diff(distance) > 0).all()
    assert where("green", frames).sum((1, 2)).std() < 2, "the target is never covered"


def test_behind_is_hidden_and_in_front_hides() -> None:
    behind, before = (pictures(scene("left", relation)) for relation in ("behind", "before"))
    middle = CLIP.frames // 2
    assert not where("red", behind[middle : middle + 1]).any()
    assert where("red", before[middle : middle + 1]).sum() == where("red", before[:1]).sum()
    assert where("green", before[middle : middle + 1]).sum() < where("green", before[:1]).sum()


def test_large_is_larger_than_small() -> None:
    small, large = (where("red", pictures(scene("left", size=size))).sum() for size in ("small", "large"))
    assert large > 2 * small


def test_a_twin_shows_the_same_pictures_backwards() -> None:
    for relation, motions in MOTIONS_BY_RELATION.items():
        for motion in motions:
            twin = scene(motion, relation).twin()
            if twin is not None:
                difference = np.abs(pictures(scene(motion, relation)) - pictures(twin)[::-1])
                assert difference.mean() < 0.3, motion  # positions are rounded to half a pixel


def test_nothing_happens_outside_the_centre_square() -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        shown, (width, height) = draw_scene(rng), SIDES[number % len(SIDES)]
        clip = dataclasses.replace(draw_clip(rng), width=width, height=height, frames=7)
        frames = pictures(shown, clip)
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        changed = frames != frames[:1]
        still = np.abs(np.diff(frames, axis=2)).max(-1) if width > height else np.abs(np.diff(frames, axis=1)).max(-1)
        changed[:, top : top + side, left : left + side] = False
        assert not changed.any()
        if shown.background != "striped":  # a uniform or shaded wall: no edge of any shape outside
            still[:, top : top + side, left : left + side] = 0
            assert still.max() < 10


def test_clips_vary_in_length_frame_rate_and_size() -> None:
    rng = np.random.default_rng(0)
    clips = [draw_clip(rng) for _ in range(100)]
    seconds = [clip.frames * clip.rate[1] / clip.rate[0] for clip in clips]
    assert min(seconds) < 2.3 and max(seconds) > 3.7
    assert min(seconds) >= 1.9 and max(seconds) <= 4.1
    assert len({clip.rate for clip in clips}) >= 5
    assert any(clip.rate[0] % clip.rate[1] for clip in clips), "some rates are not integer"
    assert len({clip.width / clip.height for clip in clips}) >= 4
    assert all(clip.width % 2 == clip.height % 2 == 0 for clip in clips), "4:2:0 needs even sides"
