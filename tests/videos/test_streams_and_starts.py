"""Files whose film is not the stream that comes first, and files whose pictures begin late."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from data_prep.video_facts import examine_video
from eaglenet_jax.data.decode import decode
from eaglenet_jax.data.video_picture import shown
from eaglenet_jax.data.video_source import VideoSource
from eaglenet_jax.search.playing import copy_of_moment, picture_of
from eaglenet_jax.search.video_reader import VideoReader
from tests.videos.make import HEIGHT, WIDTH, Clip, number_of, picture, write


def with_a_cover(path: Path, films: int, default: int | None, cover_first: bool) -> Path:
    """Write a film of 30 pictures `films` times, and a larger cover as a stream of one picture."""
    with av.open(str(path), "w") as container:
        order = [True, *[False] * films] if cover_first else [*[False] * films, True]
        streams = []
        for number, is_cover in enumerate(order):
            stream = container.add_stream("mjpeg" if is_cover else "mpeg4", rate=10)
            stream.width, stream.height = (4 * WIDTH, 4 * HEIGHT) if is_cover else (WIDTH, HEIGHT)
            stream.pix_fmt = "yuvj420p" if is_cover else "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append((stream, is_cover))
        for number in range(30):
            for stream, is_cover in streams:
                if not is_cover or not number:
                    whole = Image.fromarray(picture(number)).resize((stream.width, stream.height))
                    frame = av.VideoFrame.from_image(whole).reformat(format=stream.pix_fmt)
                    frame.pts = number
                    container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "default", "cover_first"),
    [("a.mkv", None, True), ("a.mkv", 0, True), ("a.mkv", 1, False), ("a.mov", None, True)],
)
def test_a_stream_of_one_picture_is_a_cover(tmp_path: Path, name: str, default: int | None, cover_first: bool) -> None:
    path = with_a_cover(tmp_path / name, 1, default, cover_first)
    record = decode(path, size=16)
    assert record.provenance["source_width"] == WIDTH and len(record.frames) == 3
    assert any("a single picture" in line for line in examine_video(path).lines)
    with VideoReader(path) as video:
        assert [number_of(shot) for _, shot in video.sampled(1)] == pytest.approx([0, 10, 20], abs=1)
    assert number_of(np.asarray(Image.open(io.BytesIO(picture_of(str(path), 1.0))))) == pytest.approx(10, abs=3)
    with av.open(io.BytesIO(copy_of_moment(str(path), 2, 2.5))) as copy:
        assert number_of(next(copy.decode(video=0)).to_ndarray(format="rgb24")) == pytest.approx(20, abs=3)


def test_a_single_picture_without_a_film_is_shown(tmp_path: Path) -> None:
    path = with_a_cover(tmp_path / "a.mkv", 0, None, True)
    assert decode(path, size=16).provenance["source_width"] == 4 * WIDTH


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pictures_of_avi_that_begin_late_begin_late(tmp_path: Path, codec: str) -> None:
    """The first packet is at zero, then nothing until the second: FFmpeg and players begin there."""
    path = write(tmp_path / "late.avi", Clip(60, 25, codec, start=3, between=2, key_every=20))
    with VideoSource(path) as source:
        found = [(time, number_of(shown(frame, source.stream))) for time, frame in source.frames()]
        assert source.incomplete() is None and not source.notes()
    assert [number for _, number in found] == pytest.approx(range(60), abs=1)
    assert np.allclose([time for time, _ in found], 3 + np.arange(60) / 25, atol=0.041)
    for time in (found[0][0], found[31][0]):
        number = round((time - found[0][0]) * 25)
        (shot,) = VideoReader(path).at([time])
        assert number_of(shot) == pytest.approx(number, abs=1)
        with VideoReader(path) as video:
            between = [number_of(shot) for _, shot in video.between(time, time + 0.2)]
        assert between == pytest.approx(range(number, number + 5), abs=1)
    with VideoReader(path) as video:
        assert next(video.sampled(1))[0] == found[0][0]
