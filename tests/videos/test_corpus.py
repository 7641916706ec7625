"""Matrix of containers, codecs, rates, starts, shapes and damage: everything that shows a file agrees about it."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eaglenet_jax.data.decode import decode
from eaglenet_jax.data.video_picture import shown
from eaglenet_jax.data.video_source import VideoSource
from eaglenet_jax.search.playing import copy_of_moment, picture_of
from eaglenet_jax.search.video_reader import VideoReader
from tests.videos.make import Clip, damage_packet, number_of, set_matrix, write

SEQUENCE = [
    ("clip.mp4", Clip()),
    ("clip.mov", Clip(rate=25, between=2)),
    ("clip.mkv", Clip(between=2, start=3.5, sound=6)),
    ("clip.ts", Clip(between=2, key_every=40, start=2, sound=5)),
    ("clip.avi", Clip(between=2)),
    ("clip.avi", Clip(codec="mpeg4", rate=25)),
    ("clip.webm", Clip(codec="libvpx", rate=12)),
    ("clip.mpg", Clip(codec="mpeg2video", rate=25)),
    ("clip.mp4", Clip(aspect=Fraction(4, 3), start=1, sound=6)),
    ("clip.flv", Clip(codec="flv")),
    ("clip.mp4", Clip(40, times=[*np.arange(20) / 20, *np.arange(1, 11, 0.5)], between=1)),
]


def id_of(case: tuple[str, Clip]) -> str:
    changed = {f.name: getattr(case[1], f.name) for f in dataclasses.fields(Clip)}
    default = dataclasses.asdict(Clip())
    return "-".join([case[0], *(f"{k}={v}" for k, v in changed.items() if default[k] != v and k != "times")])


def numbers_near(shot: np.ndarray, number: int) -> bool:
    return abs(number_of(shot) - number) <= 1


@pytest.mark.parametrize("case", SEQUENCE, ids=id_of)
def test_index_thumbnail_picture_and_clip_agree(tmp_path: Path, case: tuple[str, Clip]) -> None:
    name, clip = case
    path = write(tmp_path / name, clip)
    with VideoSource(path) as source:
        frames = list(source.frames())
        stream = source.stream
        seen = {time: number_of(shown(frame, stream)) for time, frame in frames}
        size = shown(frames[0][1], stream).shape[:2]
        # Where FFmpeg is off by one picture (below), that looks like a gap.
        assert source.incomplete() is None and (name.endswith("mpg") or not source.notes())
    times = list(seen)
    assert len(times) == clip.count and all(abs(number - k) <= 1 for k, number in enumerate(seen.values()))
    expected = np.asarray(clip.times if clip.times is not None else np.arange(clip.count) / clip.rate)
    # A program stream states the times of few pictures; FFmpeg's parser is off by one at some of them.
    pictures = 1.1 if name.endswith("mpg") else 0.5
    assert np.allclose(np.asarray(times) - times[0], expected, atol=pictures / clip.rate)
    with VideoReader(path) as video:
        sampled = [(time, number_of(shot), shot.shape) for time, shot in video.sampled(1)]
    record = decode(path, size=16, timestamps=True, as_shown=True)
    own = [time for time, _, _ in sampled if time in seen]
    assert len(record.frames) == len(own) and all(shape[:2] == size for *_, shape in sampled)
    assert (record.provenance["source_height"], record.provenance["source_width"]) == size
    for time in own[1::2]:
        picture = Image.open(io.BytesIO(picture_of(str(path), time)))
        assert numbers_near(np.asarray(picture), seen[time])
        assert picture.width / picture.height == pytest.approx(size[1] / size[0], rel=0.05)
        with av.open(io.BytesIO(copy_of_moment(str(path), time, time + 0.5))) as copy:
            first = next(copy.decode(video=0))
        assert numbers_near(first.to_ndarray(format="rgb24"), seen[time])
        assert (first.height, first.width) == pytest.approx(size, abs=2)


# With Debian's ffmpeg as reference ----------------------------------------------------------------------------------


def by_ffmpeg(path: Path) -> tuple[np.ndarray, list[float]]:
    """Pictures [N, H, W, 3] as ffmpeg shows them, upright and at the display size, and their times."""
    filters = "scale=iw*sar:ih:flags=bicubic,setsar=1,showinfo"
    command = ["ffmpeg", "-nostdin", "-i", f"file:{path}", "-vf", filters, "-fps_mode", "passthrough"]
    command += ["-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with av.open(str(path)) as container:
        if container.streams.audio:  # time zero of a transport stream is the start of the streams that are used
            command += ["-map", "0:a", "-f", "null", "/dev/null"]
    result = subprocess.run(command, capture_output=True, check=True)
    lines = [line for line in result.stderr.decode(errors="replace").splitlines() if "pts_time:" in line]
    times = [float(line.split("pts_time:")[1].split()[0]) for line in lines]
    width, height = map(int, lines[0].split(" s:")[1].split()[0].split("x"))
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, height, width, 3), times


def variants(folder: Path) -> list[Path]:
    """The whole matrix as far as the containers allow it."""
    codecs = {"libx264": ("mp4", "mov", "mkv", "ts", "avi", "flv"), "mpeg4": ("mp4", "avi", "mkv"), "libvpx": ("webm",)}
    codecs["mpeg2video"] = ("mpg", "ts")
    paths = []
    for codec, suffixes in codecs.items():
        for suffix in suffixes:
            for rate in (10, 25):
                for start, sound in ((0.0, 0.0), (1.6, 4.0)):
                    if sound and suffix in ("webm", "mpg", "avi", "flv"):
                        continue  # no AAC there, or no time before the pictures
                    for aspect in (Fraction(1), Fraction(16, 11)):
                        between = 2 * (codec == "libx264" and suffix not in ("avi", "flv"))
                        clip = Clip(40, rate, codec, start, sound=sound, aspect=aspect, between=between)
                        name = f"{codec}_{rate}_{start}_{aspect.numerator}.{suffix}"
                        paths.append(write(folder / name, clip))
    for number, matrix in enumerate(((0, 1, -1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1), (0, 1, 1, 0))):
        paths.append(set_matrix(write(folder / f"matrix_{number}.mp4", Clip(12)), matrix))
    paths += [damage_packet(write(folder / f"damaged_{k}.mp4", Clip(40)), k) for k in (7, 22)]
    return paths


@pytest.mark.extras
def test_every_picture_is_that_of_ffmpeg(tmp_path: Path) -> None:
    assert shutil.which("ffmpeg"), "this test compares with Debian's ffmpeg: apt-get install ffmpeg"
    different = {}
    for path in variants(tmp_path):
        pictures, times = by_ffmpeg(path)
        with VideoSource(path) as source:
            ours = [(time, shown(frame, source.stream)) for time, frame in source.frames()]
        found = {"pictures": len(ours) - len(pictures), "size": ours[0][1].shape != pictures[0].shape}
        if not any(found.values()):
            mine = np.stack([shot for _, shot in ours]).astype(int)
            found["levels"] = int(np.abs(mine - pictures).mean((1, 2, 3)).max()) > 2
            # Debian's version counts the 32 ms that an AAC encoder puts before the sound of a Matroska file.
            found["times"] = bool(np.abs(np.asarray(times) - [time for time, _ in ours]).max() > 0.04)
        if any(found.values()):
            different[path.name] = found
    assert not different, json.dumps(different, indent=1)
