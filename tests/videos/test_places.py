"""Places within files where nothing but order tells the time, and files that are not what their name says."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from eaglenet_jax.data.video_picture import shown
from eaglenet_jax.data.video_source import VideoSource
from eaglenet_jax.search.playing import plays_in_browsers
from eaglenet_jax.search.video_reader import VideoReader
from tests.videos.make import Clip, number_of, write


@pytest.mark.parametrize("name", ["clip.avi", "clip.mxf"])
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
def test_a_place_within_a_file_shows_the_picture_of_its_time(tmp_path: Path, name: str, codec: str) -> None:
    """A decoder that starts at a key picture leaves out those that are stored after it and shown before it."""
    if (name, codec) == ("clip.mxf", "mpeg4"):
        name = "clip.nut"
    path = write(tmp_path / name, Clip(70, 25, codec, between=2, key_every=12))
    with VideoSource(path) as source:
        seen = [(time, number_of(shown(frame, source.stream))) for time, frame in source.frames()]
    assert [number for _, number in seen] == pytest.approx(range(70), abs=1)
    for time, number in seen[5::13]:
        (found,) = VideoReader(path).at([time])
        assert number_of(found) == pytest.approx(number, abs=1)
    with VideoReader(path) as video:
        between = [number_of(shot) for _, shot in video.between(seen[30][0], seen[40][0])]
    assert between == pytest.approx(range(30, 40), abs=1)


def test_slides_with_reordered_pictures_keep_their_times(tmp_path: Path) -> None:
    path = write(tmp_path / "slides.mp4", Clip(4, 1, times=[0, 7, 33, 60], key_every=10, between=2))
    with VideoSource(path) as source:
        times = [time for time, _ in source.frames()]
        assert not source.notes()
    assert np.allclose(times, [0, 7, 33, 60], atol=0.01)
    with VideoReader(path) as video:  # a WebP moves a grey level by one, which is half of a picture's step
        assert [number_of(picture) for picture in video.at([40.0, 60.0])] == [2, 3]


@pytest.mark.parametrize("name", ["slow.mkv", "slow.nut", "slow.mp4"])
def test_slow_pictures_that_are_reordered_are_no_jump_of_the_clock(tmp_path: Path, name: str) -> None:
    """A rate that falls from 30 to 2 a second: stored order goes back by more seconds than at the stated rate."""
    times = [*np.arange(30) / 30, *np.arange(1, 13, 0.5)]
    path = write(tmp_path / name, Clip(len(times), 30, times=times, key_every=100, between=3))
    with VideoSource(path) as source:
        found = [(time, number_of(shown(frame, source.stream))) for time, frame in source.frames()]
        assert not source.clock.jumps and not source.clock.disordered
    assert [number for _, number in found] == pytest.approx(range(len(times)), abs=1)
    assert np.allclose([time for time, _ in found], times, atol=0.02)


def test_the_rate_of_raw_dv_is_that_of_its_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "tape.dv"), "w") as container:
        stream = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((576, 720, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    with VideoSource(tmp_path / "tape.dv") as source:
        assert source.rate == 25 and len(list(source.frames())) == 4


def test_a_name_says_nothing_about_what_browsers_play(tmp_path: Path) -> None:
    good = write(tmp_path / "good.mp4", Clip(10))
    assert plays_in_browsers(str(good))
    avi = write(tmp_path / "clip.avi", Clip(10))
    assert not plays_in_browsers(shutil.move(avi, tmp_path / "wrong.mp4"))
    webm = write(tmp_path / "clip.webm", Clip(10, codec="libvpx"))
    assert plays_in_browsers(str(webm)) and not plays_in_browsers(shutil.move(good, tmp_path / "good.webm"))
