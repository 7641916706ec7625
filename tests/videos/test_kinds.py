"""One test for every kind of video file that people report trouble with: right times, right pictures, nothing lost."""

from __future__ import annotations

import io
import itertools
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_prep.doctor import main as doctor
from data_prep.video_facts import examine_video
from eaglenet_jax.data.decode import decode
from eaglenet_jax.data.video_picture import first_field, is_combed, shown
from eaglenet_jax.data.video_source import DecodeError, VideoSource
from eaglenet_jax.search.playing import copy_of_moment, picture_of, plays_in_browsers
from eaglenet_jax.search.video_reader import VideoReader
from eaglenet_jax.search.windows import WindowRule, cut_windows
from tests.videos.make import Clip, damage_packet, joined, number_of, picture, set_matrix, write


def all_of(path: Path) -> tuple[list[float], list[int], VideoSource]:
    """Times and numbers of all pictures, and the source after it was read."""
    with VideoSource(path) as source:
        found = [(time, number_of(shown(frame, source.stream))) for time, frame in source.frames()]
    return [time for time, _ in found], [number for _, number in found], source


def played(content: bytes) -> list[tuple[float, np.ndarray]]:
    with av.open(io.BytesIO(content)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


# Time ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video")])
@pytest.mark.parametrize("second_start", [0.0, 5000.0])
def test_joined_recordings_are_one_after_the_other(
    tmp_path: Path, suffix: str, codec: str, second_start: float
) -> None:
    parts = [
        write(tmp_path / f"{n}.{suffix}", Clip(35, 25, codec, first=35 * n, start=second_start * n)) for n in (0, 1)
    ]
    path = joined(tmp_path / f"joined.{suffix}", *parts)
    times, numbers, source = all_of(path)
    assert numbers == list(range(70))
    assert np.allclose(np.diff(times), 0.04, atol=0.011) and times[-1] == pytest.approx(times[0] + 2.76, abs=0.1)
    (jump,) = source.clock.jumps
    assert jump.time == pytest.approx(1.4 + times[0], abs=0.1) and "clock jumps" in " ".join(source.notes())
    assert source.incomplete() is None
    # A moment of the second part, found in the file by its place and not by its time.
    for time in (1.8, 2.4):
        (found,) = VideoReader(path).at([time + times[0]])
        assert number_of(found) == pytest.approx(time * 25, abs=1)
    record = decode(path, size=16, timestamps=True, as_shown=True)
    assert len(record.frames) == 3 and "clock jumps" in str(record.provenance["notes"])


def test_times_that_are_not_in_order_are_put_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.avi", Clip(60, 10, between=2, key_every=30))
    times, numbers, source = all_of(path)
    assert numbers == list(range(60)) and np.allclose(times, np.arange(60) / 10)
    assert source.incomplete() is None and not source.notes() and 15 < source.clock.reordered < 60
    assert any("AVI stores no times of pictures" in line for line in examine_video(path).warnings)
    shots = played(copy_of_moment(str(path), 4.0, 5.0))
    assert np.abs([number_of(shot) - 40 - k for k, (_, shot) in enumerate(shots[:10])]).max() <= 1


@pytest.mark.parametrize("name", ["clip.mxf", "clip.nut"])
def test_pictures_that_are_stored_after_later_ones_have_their_own_times(tmp_path: Path, name: str) -> None:
    """FFmpeg gives H.264 in MXF the times of decoding, and the first packets of NUT no decoding time."""
    path = write(tmp_path / name, Clip(60, 25, between=2, key_every=30))
    times, numbers, source = all_of(path)
    assert numbers == list(range(60)) and np.allclose(np.diff(times), 0.04, atol=0.002)
    assert source.incomplete() is None and not source.notes()
    for number in (7, 41):
        time = times[number]
        assert number_of(played(copy_of_moment(str(path), time, time + 0.2))[0][1]) == pytest.approx(number, abs=1)


@pytest.mark.parametrize("time", [2.4, 4.8, 6.92])
def test_a_seek_is_checked_where_there_is_no_index(tmp_path: Path, time: float) -> None:
    path = write(tmp_path / "clip.ts", Clip(75, 10, key_every=30, between=2))
    with VideoSource(path) as source:
        first, _ = next(source.frames())
    with VideoReader(path) as video:
        shots = list(video.between(time + first, time + first + 0.5))
    assert number_of(shots[0][1]) == np.ceil(round(time * 10, 6)) and len(shots) == 5
    assert number_of(np.asarray(Image.open(io.BytesIO(picture_of(str(path), time + first))))) == np.ceil(
        time * 10 - 0.01
    )


def test_a_whole_second_shows_the_picture_that_begins_just_after_it(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.ts", Clip(75, 10, key_every=30, sound=8))  # the sound begins 32 ms before
    for second in (0, 2, 4, 7):
        assert number_of(np.asarray(Image.open(io.BytesIO(picture_of(str(path), second))))) == 10 * second
        shots = played(copy_of_moment(str(path), second, second + 0.4))
        assert shots[0][0] == pytest.approx(0.032, abs=0.002)  # nothing stands before it
        assert all(abs(number_of(shot) - 10 * second - k) <= 1 for k, (_, shot) in enumerate(shots[:4]))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_time_zero_is_the_start_of_the_container(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"clip.{suffix}", Clip(40, 10, start=3, sound=8))
    with VideoReader(path) as video:
        sampled = [(time, number_of(shot)) for time, shot in video.sampled(1)]
    assert [number for _, number in sampled] == [0, 10, 20, 30, 39]  # the last one stands while the sound goes on
    assert [time for time, _ in sampled] == pytest.approx([3, 4, 5, 6, 7], abs=0.1)
    time = sampled[2][0]
    assert number_of(np.asarray(Image.open(io.BytesIO(picture_of(str(path), time))))) == 20
    assert number_of(played(copy_of_moment(str(path), time, time + 1))[0][1]) == 20
    shots = played(copy_of_moment(str(path), 0, 5))  # players do not all wait for the first picture: it stands before
    assert shots[0][0] == 0 and shots[-1][0] == pytest.approx(sampled[1][0] + 0.9, abs=0.15)
    assert max(abs(number_of(shot)) for at, shot in shots if at < 2.9) <= 1
    (tenth,) = (number_of(shot) for at, shot in shots if abs(at - sampled[1][0]) < 0.02)
    assert tenth == pytest.approx(10, abs=1)


def test_a_picture_stands_until_the_next(tmp_path: Path) -> None:
    path = write(tmp_path / "slides.mp4", Clip(3, 1, times=[0, 20, 45], key_every=1))
    with VideoReader(path) as video:
        timed = [(time, number_of(shot)) for time, shot in video.sampled(1)]
        windows = list(cut_windows(timed, WindowRule(), lambda: video.length))
    assert [time for time, _ in timed[:46]] == [float(second) for second in range(46)]
    assert [number for _, number in timed[:46]] == [0] * 20 + [1] * 25 + [2]
    spans = sorted((window.start, window.end) for window in windows)
    assert spans[0][0] == 0 and all(before[1] >= after[0] for before, after in itertools.pairwise(spans))
    shots = played(copy_of_moment(str(path), 8.0, 20.0))
    assert max(abs(number_of(shot)) for _, shot in shots) <= 1 and shots[-1][0] == pytest.approx(12, abs=0.1)


def test_a_rate_that_varies_is_sampled_by_time_and_said(tmp_path: Path) -> None:
    times = [*np.arange(20) / 10, *np.arange(2, 6, 0.5), *np.arange(6, 8, 0.1)]
    path = write(tmp_path / "clip.mp4", Clip(len(times), 10, times=times))
    facts = examine_video(path)
    assert facts.rate is not None and facts.rate.varies and facts.rate.counting_off == pytest.approx(2, abs=1.5)
    assert any("rate is not constant" in line and "off by up to" in line for line in facts.warnings)
    assert len(decode(path, size=16, timestamps=True).frames) == 8
    steady = examine_video(write(tmp_path / "steady.mp4", Clip(20, 10)))
    assert steady.rate is not None and not steady.rate.varies and not steady.warnings


# Losses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "lost"), [("clip.mp4", "libx264", 1), ("clip.mkv", "mpeg4", 1), ("clip.mov", "png", 1)]
)
def test_a_damaged_packet_is_not_the_end(tmp_path: Path, name: str, codec: str, lost: int) -> None:
    path = tmp_path / name
    if codec == "png":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("png", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
            for number in range(40):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
            container.mux(stream.encode())
    else:
        write(path, Clip(40, 10, codec, key_every=5))
    damage_packet(path, 22)
    times, numbers, source = all_of(path)
    assert len(numbers) == 40 - lost and numbers[-1] == 39 and times[-1] == pytest.approx(3.9)
    assert "1 packet cannot be decoded (at 2." in str(source.incomplete())
    record = decode(path, fps=5, size=16, timestamps=True)
    assert "1 packet" in str(record.provenance["incomplete"]) and len(record.frames) == 20


@pytest.mark.parametrize(
    ("name", "both"), [("clip.avi", True), ("clip.mkv", True), ("clip.mp4", False), ("clip.wmv", False)]
)
def test_a_file_that_follows_is_read_or_named_and_an_index_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, both: bool
) -> None:
    monkeypatch.setattr("eaglenet_jax.data.video_source.UNREAD_BYTES", 100)
    monkeypatch.setattr("eaglenet_jax.data.video_source.UNREAD_SHARE", 0.01)
    codec = "mpeg4" if name.endswith("wmv") else "libx264"
    path = write(tmp_path / name, Clip(40, 10, codec, key_every=1))  # an entry a picture, of small pictures
    *_, source = all_of(path)
    assert not source.notes()
    one = path.read_bytes()
    path.write_bytes(one + one)
    _, numbers, source = all_of(path)
    assert len(numbers) == (80 if both else 40)
    assert (f"the last {len(one)} bytes hold no video of this file" in " ".join(source.notes())) is not both


@pytest.mark.parametrize("name", ["clip.mxf", "clip.nut"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_of_a_damaged_tail_comes_what_is_before_it(tmp_path: Path, name: str, damage: str) -> None:
    """MXF states its length in pictures, NUT states none."""
    path = write(tmp_path / name, Clip(75, 25, "mpeg2video", key_every=5))
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    tail = np.random.default_rng(0).integers(0, 256, len(content) - places[60], dtype=np.uint8).tobytes()
    path.write_bytes(content[: places[60]] + (tail if damage == "noise" else b""))
    _, numbers, source = all_of(path)
    assert numbers[:59] == list(range(59)) and len(numbers) in (59, 60, 61)
    said = "; ".join([source.incomplete() or "", *source.notes()])
    if name == "clip.mxf":
        assert "s of the 3.0 s that it announces" in said
    elif damage == "noise":
        assert "packets gave no picture" in said
    # Five of the 75 pictures that it states are no rounding.
    if (name, damage) == ("clip.mxf", "cut"):
        path.write_bytes(content[: places[70]])
        assert "s of the 3.0 s that it announces" in str(all_of(path)[2].incomplete())


def test_a_file_of_which_nothing_comes_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", Clip(3, 10))
    for number in range(3):
        damage_packet(path, number)
    with pytest.raises(DecodeError, match="3 packets cannot be decoded"):
        decode(path, size=16)


def test_what_an_edit_list_hides_is_not_missing(tmp_path: Path) -> None:
    """A cut without encoding begins at a key picture and hides what is before the cut."""
    whole = write(tmp_path / "whole.mp4", Clip(60, 10, key_every=30))
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as cut:
        stream = source.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.pts is None:
                continue
            packet.pts -= round(1.2 / packet.time_base)
            packet.dts -= round(1.2 / packet.time_base)
            packet.stream = copy
            cut.mux(packet)
    _, numbers, source = all_of(path)
    assert numbers[0] >= 10 and numbers[-1] == 59 and source.incomplete() is None
    assert source.stream.frames > len(numbers)


# Geometry, colour and streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 128), (Fraction(1, 2), 32)])
def test_the_sample_aspect_ratio_is_obeyed_and_left_alone_for_the_released(
    tmp_path: Path, aspect: Fraction, width: int
) -> None:
    path = write(tmp_path / "clip.mp4", Clip(3, 10, aspect=aspect))
    with VideoReader(path) as video:
        ((_, shot),) = video.sampled(1)
    assert shot.shape == (48, width, 3)
    assert played(copy_of_moment(str(path), 0, 0.3))[0][1].shape == (48, width, 3)
    small = Image.open(io.BytesIO(picture_of(str(path), 0.0)))
    assert small.width / small.height == pytest.approx(width / 48, rel=0.1)
    assert decode(path, size=16, as_shown=True).provenance["source_width"] == width
    assert decode(path, size=16).provenance["source_width"] == 64


# Where the bright corner is shown: (top, left).
POSITIONS = {
    (0, 1, -1, 0): (True, False),
    (0, -1, 1, 0): (False, True),
    (-1, 0, 0, -1): (False, False),
    (-1, 0, 0, 1): (True, False),
    (1, 0, 0, -1): (False, True),
    (0, 1, 1, 0): (True, True),
}


@pytest.mark.parametrize("matrix", POSITIONS)
def test_turned_and_mirrored_films_are_upright_everywhere(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    path = set_matrix(write(tmp_path / "clip.mp4", Clip(3, 10)), matrix)
    with VideoReader(path) as video:
        ((_, shot),) = video.sampled(1)
    shots = [shot, played(copy_of_moment(str(path), 0, 0.3))[0][1]]
    shots.append(np.asarray(Image.open(io.BytesIO(picture_of(str(path), 0.0)))))
    for one in shots:
        height, width = one.shape[:2]
        assert (height > width) == (matrix[0] == 0)
        bright = one.astype(int).sum(2)[[3, 3, -4, -4], [3, -4, 3, -4]].argmax()
        assert (bright < 2, bright % 2 == 0) == POSITIONS[matrix]
    mirrored = matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0
    assert plays_in_browsers(str(path)) == (not mirrored)


def test_the_default_stream_is_taken_else_the_largest(tmp_path: Path) -> None:
    sizes = [(32, 32), (64, 48), (96, 64)]

    def mux(path: Path, default: int | None) -> Path:
        with av.open(str(path), "w") as container:
            streams = []
            for number, (width, height) in enumerate(sizes):
                stream = container.add_stream("mpeg4", rate=10)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.disposition = av.stream.Disposition.default if number == default else 0
                streams.append(stream)
            for _ in range(5):
                for stream in streams:
                    shot = np.zeros((stream.height, stream.width, 3), np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(shot, format="rgb24")))
            for stream in streams:
                container.mux(stream.encode())
        return path

    for default, wanted in ((1, 64), (None, 96)):
        path = mux(tmp_path / f"{default}.mkv", default)
        assert decode(path, size=16).provenance["source_width"] == wanted
        with VideoReader(path) as video:
            ((_, shot),) = video.sampled(1)
        assert shot.shape[1] == wanted == played(copy_of_moment(str(path), 0, 0.5))[0][1].shape[1]


def test_full_range_and_bt709_are_kept_in_frames_and_clips(tmp_path: Path) -> None:
    path, colours = tmp_path / "clip.mkv", [(191, 191, 191), (0, 189, 0), (20, 40, 200)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 32, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 2
        stream.options = {"crf": "4", "preset": "ultrafast"}
        shot = np.repeat(np.array([colours], np.uint8), 32, axis=1).repeat(32, axis=0).reshape(32, 96, 3)
        frame = av.VideoFrame.from_ndarray(shot, format="rgb24")
        for number in range(5):
            whole = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=2)
            whole.pts, whole.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(whole))
        container.mux(stream.encode())
    with VideoReader(path) as video:
        ((_, seen),) = video.sampled(1)
    for one in (seen, played(copy_of_moment(str(path), 0, 0.5))[0][1]):
        assert np.abs(one[16, 16::32].astype(int) - colours).max() <= 4


def test_hdr_is_mapped_to_sdr() -> None:
    """White at 203 cd/m² (PQ 0.58) is white, not grey."""
    level = round(64 + 0.5806 * 876)
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    for plane, value in zip(frame.planes, (level, 512, 512), strict=True):
        plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
    frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = 16, 9, 9, 1
    stream = av.open(io.BytesIO(), "w", format="mp4").add_stream("libx264", rate=1)
    assert shown(frame, stream).mean() > 240 > 170 > frame.to_ndarray(format="rgb24").mean()


def test_combed_pictures_become_one_field() -> None:
    early, late = np.full((48, 64, 3), 40, np.uint8), np.full((48, 64, 3), 40, np.uint8)
    early[:, 10:30], late[:, 26:46] = 220, 220
    combed = early.copy()
    combed[1::2] = late[1::2]
    assert is_combed(combed) and not is_combed(early)
    assert np.array_equal(first_field(combed), early)


# Names and places ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["12:30.mp4", "Movie: part 1.mp4", "-i.mp4", "100%d?.mp4", "a\nb.mp4", "\udcff.mp4"])
def test_any_name_that_the_file_system_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    write(tmp_path / "clip.mp4", Clip(12, 10)).rename(path)
    monkeypatch.chdir(tmp_path)
    assert len(decode(Path(name), size=16).frames) == 2
    assert copy_of_moment(name, 0, 1) and picture_of(name, 0.5) and plays_in_browsers(name)


def test_pixels_that_no_browser_plays_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.options = {"preset": "ultrafast"}
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    assert not plays_in_browsers(str(path))
    with av.open(io.BytesIO(copy_of_moment(str(path), 0, 0.5))) as copy:
        assert copy.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_the_doctor_reports_on_single_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.mp4", Clip(25, 10, aspect=Fraction(2)))
    bad = damage_packet(Path(shutil.copy(write(tmp_path / "a.mp4", Clip(40, 10)), tmp_path / "bad.mp4")), 15)
    assert doctor([f"--video={good}", f"--out={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert "shown as 128 × 48 (64 × 48 coded, pixels 2:1)" in said and "3 pictures" in said
    with Image.open(tmp_path / "good.mp4.png") as sheet:
        assert sheet.width > 400
    assert doctor(["--video", str(bad), str(good), "--json", f"--out={tmp_path}"]) == 1
    assert "1 packet cannot be decoded" in capsys.readouterr().out
    (tmp_path / "text.mp4").write_text("no video")
    assert doctor(["--video", str(tmp_path / "text.mp4"), f"--out={tmp_path}"]) == 1
    assert "NO PICTURE" in capsys.readouterr().out
