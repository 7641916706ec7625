"""Sampling of videos in many containers, shapes and frame rates."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_prep.cache import FrameSettings
from eaglenet_jax.data.decode import decode
from tests.data_prep.conftest import WriteVideo

Pictures = Callable[..., np.ndarray]
Number = Callable[[np.ndarray], int]


def numbers(jpegs: tuple[bytes, ...], frame_number: Number) -> list[int]:
    return [frame_number(np.asarray(Image.open(io.BytesIO(jpeg)))) for jpeg in jpegs]


def write(
    path: Path, pictures: np.ndarray, rate: int, codec: str = "libx264", times: list[Fraction] | None = None
) -> Path:
    """times: of the frames in seconds, for a variable rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"preset": "ultrafast", "crf": "4"} if codec == "libx264" else {"b": "400000"}
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(times[i] * 1000) if times else i
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.mov", "libx264"), ("a.3gp", "libx264"),
     ("a.wmv", "msmpeg4"), ("a.flv", "flv")],
)  # fmt: skip
def test_every_container_gives_the_same_frames(
    tmp_path: Path, counting_pictures: Pictures, frame_number: Number, name: str, codec: str, timestamps: bool
) -> None:
    path = write(tmp_path / name, counting_pictures(45), 10, codec)
    video = decode(path, fps=2, size=16, timestamps=timestamps)
    assert numbers(video.frames, frame_number) == [*range(0, 45, 5)]
    assert video.provenance["source_frames"] == 45 and video.provenance["incomplete"] is None


def test_between_two_frames_times_take_the_later_and_counting_the_earlier(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures, frame_number: Number
) -> None:
    path = write_video(tmp_path / "clip.mp4", counting_pictures(45), 25)
    assert numbers(decode(path, fps=2, size=16).frames, frame_number) == [0, 12, 25, 37]
    assert numbers(decode(path, fps=2, size=16, timestamps=True).frames, frame_number) == [0, 13, 25, 38]


@pytest.mark.parametrize(("rate", "count", "expected"), [(1, 6, [*range(6)]), (60, 61, [0, 60])])
def test_slow_and_fast_recordings(
    tmp_path: Path,
    write_video: WriteVideo,
    counting_pictures: Pictures,
    frame_number: Number,
    rate: int,
    count: int,
    expected: list[int],
) -> None:
    path = write_video(tmp_path / "clip.mp4", counting_pictures(count), rate)
    for timestamps in (False, True):
        assert numbers(decode(path, size=16, timestamps=timestamps).frames, frame_number) == expected


@pytest.mark.parametrize(("height", "width"), [(96, 40), (34, 250), (50, 66)])
def test_portrait_wide_and_odd_sizes(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures, height: int, width: int
) -> None:
    video = decode(write_video(tmp_path / "clip.mp4", counting_pictures(3, height, width)), size=24)
    assert Image.open(io.BytesIO(video.frames[0])).size == (24, 24)
    assert (video.provenance["source_height"], video.provenance["source_width"]) == (height, width)


def test_true_times_of_a_variable_frame_rate(tmp_path: Path, counting_pictures: Pictures, frame_number: Number) -> None:
    # A second at 20 frames a second, two at 2, a gap, a second at 20; the second second ends in a rounded 1.9995.
    times = [Fraction(i, 20) for i in range(20)] + [Fraction(1), Fraction(3, 2), Fraction(1999, 1000), Fraction(5, 2)]
    times += [Fraction(57, 10)] + [6 + Fraction(i, 20) for i in range(20)]
    path = write(tmp_path / "clip.mkv", counting_pictures(len(times)), 20, times=times)
    video = decode(path, size=16, timestamps=True)
    # 0, 1, 2 (said to be 1.999), then nothing before 5.7 s, which stands for 3 to 5.
    assert numbers(video.frames, frame_number) == [0, 20, 22, 24, 25]
    assert numbers(decode(path, size=16, timestamps=True, first_seconds=2).frames, frame_number) == [0, 20, 22]
    assert numbers(decode(path, size=16).frames, frame_number) != [0, 20, 22, 24, 25]


@pytest.mark.parametrize("timestamps", [False, True])
def test_only_the_first_seconds_are_read(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures, frame_number: Number, timestamps: bool
) -> None:
    path = write_video(tmp_path / "clip.mp4", counting_pictures(50), 10)
    video = decode(path, fps=2, size=16, first_seconds=3, timestamps=timestamps)
    assert numbers(video.frames, frame_number) == [0, 5, 10, 15, 20, 25]
    assert video.provenance["source_frames"] == 30 and video.provenance["incomplete"] is None
    whole = decode(path, fps=2, size=16, first_seconds=300, timestamps=timestamps)
    assert len(whole.frames) == 10 and whole.provenance["source_frames"] == 50


def test_records_of_earlier_versions_keep_their_keys() -> None:
    assert FrameSettings(1.0, 224).as_dict() == {"fps": 1.0, "size": 224, "jpeg_quality": 95}
    more = FrameSettings(1.0, 224, first_seconds=30.0, timestamps=True).as_dict()
    assert more == {"fps": 1.0, "size": 224, "jpeg_quality": 95, "first_seconds": 30.0, "timestamps": True}
