from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.data.decode import DECODER, DecodeError, decode
from eaglenet_jax.data.transforms import resize_and_crop
from tests.data_prep.conftest import WriteVideo

Pictures = Callable[..., np.ndarray]
Number = Callable[[np.ndarray], int]


def opened(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


@pytest.mark.parametrize(
    ("rate", "fps", "count", "expected"),
    [
        (10, 1, 35, [0, 10, 20, 30]),
        (Fraction(15000, 1001), 1, 45, [0, 14, 28, 42]),  # the integer rate is 14
        (Fraction(25, 2), 3, 24, [0, 4, 8, 12, 16, 20]),
        (12, 3, 13, [0, 4, 8, 12]),
        (10, 30, 5, [0, 1, 2, 3, 4]),  # no frame twice
        (10, 1, 4, [0]),  # shorter than a second
        (10, 0.5, 45, [0, 20, 40]),
    ],
)
def test_the_frames_at_the_sampling_times_are_kept(
    tmp_path: Path,
    write_video: WriteVideo,
    counting_pictures: Pictures,
    frame_number: Number,
    rate: Fraction | int,
    fps: float,
    count: int,
    expected: list[int],
) -> None:
    path = write_video(tmp_path / "clip.mp4", counting_pictures(count), rate)
    video = decode(path, fps=fps, size=32)
    assert [frame_number(opened(jpeg)) for jpeg in video.frames] == expected
    assert video.provenance == {
        "decoder": DECODER,
        "source_fps": pytest.approx(float(rate)),
        "source_width": 64,
        "source_height": 48,
        "source_frames": count,
        "times": pytest.approx([number / float(rate) for number in expected], abs=1e-3),
        "seconds": pytest.approx(count / float(rate), abs=1e-5),
        "rotation": 0,
        "pixel_aspect": 1.0,
        "incomplete": None,
        "notes": None,
    }


def test_a_frame_is_resized_and_cropped_exactly_and_then_a_good_jpeg(tmp_path: Path, write_video: WriteVideo) -> None:
    y, x = np.mgrid[:96, :160].astype(np.float32)
    picture = np.stack([x * 1.5, y * 2.5, 255 - x], -1).clip(0, 255).astype(np.uint8)
    path = write_video(tmp_path / "clip.mp4", np.stack([picture] * 3))
    (jpeg,) = decode(path, size=64).frames
    with av.open(str(path)) as container:
        source = next(container.decode(video=0)).to_ndarray(format="rgb24")
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG" and image.size == (64, 64)
    assert image.layer[0][1:3] == (1, 1), "no chroma subsampling"
    difference = np.abs(np.asarray(image, np.int32) - resize_and_crop(source, 64))
    assert difference.mean() < 1 and difference.max() <= 8


def test_a_turned_recording_is_stored_upright(tmp_path: Path, write_video: WriteVideo) -> None:
    upright = np.zeros((64, 48, 3), np.uint8)
    upright[:16] = 255  # bright on top
    for degrees, matrix in ((90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))):
        # A camera held sideways stores the picture turned the other way and a matrix for the player.
        stored = np.rot90(upright, degrees // 90)
        path = write_video(tmp_path / f"{degrees}.mp4", np.stack([stored] * 3))
        content = bytearray(path.read_bytes())
        identity = b"".join(v.to_bytes(4, "big") for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
        at = content.index(identity, content.index(b"tkhd"))
        for slot, value in zip((0, 1, 3, 4), matrix, strict=True):
            content[at + 4 * slot : at + 4 * slot + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
        path.write_bytes(content)
        video = decode(path, size=48)
        rows = opened(video.frames[0]).astype(float).mean((1, 2))
        assert (video.provenance["source_width"], video.provenance["source_height"]) == (48, 64), degrees
        assert rows[:6].min() > 200 and rows[10:].max() < 50, degrees
        assert (video.provenance["rotation"] + degrees) % 360 == 0


def test_a_file_that_breaks_off_gives_its_frames_and_records_it(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures, frame_number: Number
) -> None:
    noise = np.random.default_rng(0).integers(0, 12, (40, 48, 64, 3), dtype=np.uint8)  # so that frames take space
    # The index first, as for streaming: then a file can be cut without losing it.
    path = write_video(tmp_path / "clip.mp4", counting_pictures(40) + noise, 10, movflags="faststart")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    whole = path.read_bytes()
    for middle_of_a_frame, note in ((0, "ends at 2.4 s of the 4.0 s that it announces"), (9, "1 packet cannot be")):
        path.write_bytes(whole[: packets[24].pos + middle_of_a_frame])
        video = decode(path, fps=5, size=32)
        assert [frame_number(opened(jpeg) - 6.0) for jpeg in video.frames] == [*range(0, 24, 2)]
        assert note in video.provenance["incomplete"]
        assert video.provenance["source_frames"] == 24


def test_files_without_a_picture_are_refused_with_the_reason(
    tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures
) -> None:
    whole = write_video(tmp_path / "whole.mp4", counting_pictures(40), 10).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index stands at the end
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("404 not found\n" * 100)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name in ("cut.mp4", "empty.mp4", "text.mp4"):
        with pytest.raises(DecodeError, match=r"Invalid data|no frames"):
            decode(tmp_path / name)
    with pytest.raises(DecodeError, match="no video stream"):
        decode(tmp_path / "sound.wav")
    with pytest.raises(DecodeError, match="No such file"):
        decode(tmp_path / "absent.mp4")
