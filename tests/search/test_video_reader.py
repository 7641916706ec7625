from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.search.video_reader import VideoReader, as_picture
from tests.search.clips import COLORS, nearest_colour, write_colours


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    path = tmp_path_factory.mktemp("colours") / "colours.mp4"
    write_colours(path, COLORS)
    return path


def test_pictures_are_sampled_by_their_times(colours):
    with VideoReader(colours) as video:
        found = [(time, nearest_colour(picture)) for time, picture in video.sampled(2)]
        assert found == [(k / 2, k // 2) for k in range(12)]
        assert video.length == pytest.approx(6) and video.announced == pytest.approx(6) and video.trouble() is None


def test_pictures_at_times_are_those_of_the_pass(colours):
    with VideoReader(colours) as video:
        passed = dict(video.sampled(2))
    times = [2.5, 3.0, 4.5]
    with VideoReader(colours) as video:
        for time, picture in zip(times, video.at(times), strict=True):
            assert np.array_equal(picture, passed[time])


def test_times_after_the_end_give_the_existing_pictures(colours):
    with VideoReader(colours) as video:
        assert len(video.at([5.5, 99.0])) == 1


def test_a_broken_file_gives_the_pictures_before_the_damage(colours, tmp_path):
    broken = tmp_path / "broken.mkv"
    write_colours(broken, COLORS)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
    with VideoReader(broken) as video:
        assert 1 <= len(list(video.sampled(1))) < 6


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 5000])
def test_files_that_are_no_videos_say_why(content, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError), VideoReader(path) as video:
        list(video.sampled(1))


def test_thumbnails_keep_the_shape_of_the_picture():
    picture = as_picture(np.zeros((1080, 1920, 3), np.uint8), 48)
    assert picture.pixels.shape == (48, 48, 3) and picture.small.size == (256, 144)
