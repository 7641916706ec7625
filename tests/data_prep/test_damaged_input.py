"""Damaged files, full disks and killed processes: nothing becomes zeros, nothing is lost, the error is one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, fill_cache
from data_prep.fake import fake
from data_prep.prepare import Decoding, prepare, read_manifest
from data_prep.probe import probe
from eaglenet_jax.data.decode import DecodeError, decode
from eaglenet_jax.errors import UserError
from tests.data_prep.conftest import WriteVideo
from tests.data_prep.killing import ROOT, run_and_kill, workers_are_gone

Pictures = Callable[..., np.ndarray]
VIDEOS = 16
NOBODY = 65534


@pytest.fixture(scope="module")
def lsmdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artificial LSMDC. Not to be changed."""
    folder = tmp_path_factory.mktemp("lsmdc") / "fake"
    fake("lsmdc", folder, videos=VIDEOS, workers=1, progress=False)
    return folder


def build_arguments(folder: Path, out: Path) -> list[str]:
    paths = [f"--annotations={folder / 'annotations'}", f"--videos={folder / 'videos'}", f"--out={out}"]
    return ["--dataset=lsmdc", *paths, "--size=64", "--fps=5", "--workers=1"]


def run_build(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "data_prep.build", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def records(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "cache").rglob("*.frames")}


def whole_and_once(out: Path) -> None:
    """Every video is in the shards exactly once."""
    manifest = read_manifest(out)
    assert manifest is not None
    assert {split: counts["videos"] for split, counts in manifest["splits"].items()} == {
        "train": 10,
        "val": 2,
        "test": 4,
    }
    builder = tfds.builder_from_directory(str(out / "shards"))
    packed = [record["video_id"].decode() for split in manifest["splits"] for record in builder.as_data_source(split)]
    assert sorted(packed) == sorted(name for states in manifest["states"].values() for name in states)
    assert len(set(packed)) == VIDEOS == len(records(out))
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["empty", "truncated", "random", "audio only", "picture and audio"])
def test_a_file_without_video_is_refused_with_the_reason(
    damage: str, tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures
) -> None:
    path = tmp_path / "video.mp4"
    if damage == "audio only":
        write_sound(path)
    elif damage == "picture and audio":
        write_sound(path, cover=True)
    else:
        whole = write_video(path, counting_pictures(30), 10).read_bytes()
        noise = np.random.default_rng(0).bytes(len(whole))
        path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "random": noise}[damage])
    reason = "no video stream" if "audio" in damage else "Invalid data"
    with pytest.raises(DecodeError, match=reason):
        decode(path)
    assert reason in str(probe(path).reason)


def write_sound(path: Path, cover: bool = False) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if cover:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
            container.mux(picture.encode())


def test_a_header_without_a_frame_rate_is_read_as_opencv_reads_it(tmp_path: Path, counting_pictures: Pictures) -> None:
    """libav takes 25 for an AVI that states 0, in OpenCV and here: the released programs see the same frames."""
    path = tmp_path / "video.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in counting_pictures(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    microseconds = content.index(b"avih") + 8
    content[microseconds : microseconds + 4] = bytes(4)
    rate = content.index(b"strh") + 32
    assert content[rate : rate + 4] == (10).to_bytes(4, "little")
    content[rate : rate + 4] = bytes(4)
    path.write_bytes(content)
    video = decode(path, size=16)
    assert video.provenance["source_fps"] == 25 and len(video.frames) == 2 and video.provenance["source_frames"] == 40


def test_the_suffix_does_not_matter(tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures) -> None:
    whole = write_video(tmp_path / "video.mkv", counting_pictures(30), 10)
    shutil.copy(whole, tmp_path / "video.mp4")
    assert decode(tmp_path / "video.mp4", size=16).frames == decode(whole, size=16).frames


def test_ten_frames_are_enough(tmp_path: Path, write_video: WriteVideo, counting_pictures: Pictures) -> None:
    path = write_video(tmp_path / "video.mp4", counting_pictures(10), 30)
    assert len(decode(path, size=16).frames) == 1
    entry = VideoEntry("v", path, "test", (("c", "a cat"),))
    prepare([entry], tmp_path / "out", {"dataset": "x"}, FrameSettings(1, 16), Decoding(progress=False))
    assert len(tfds.builder_from_directory(str(tmp_path / "out/shards")).as_data_source("test")[0]["frames"]) == 1


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest are closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_file_without_read_permission_is_reported(
    open_folder: Path, write_video: WriteVideo, counting_pictures: Pictures
) -> None:
    path = write_video(open_folder / "video.mp4", counting_pictures(10), 10)
    path.chmod(0)
    program = f"""
        import os
        from pathlib import Path
        from data_prep.annotations import VideoEntry
        from eaglenet_jax.atomic import write_atomically
        from data_prep.cache import FrameSettings, fill_cache
        from data_prep.probe import probe
        from eaglenet_jax.errors import UserError
        folder = Path({str(open_folder)!r})
        if os.getuid() == 0:
            os.setgid({NOBODY})
            os.setuid({NOBODY})
        print(probe(folder / "video.mp4").reason)
        entry = VideoEntry("v", folder / "video.mp4", "test", ())
        print(fill_cache([entry], folder / "cache", FrameSettings(1.0, 8), progress=False))
        try:
            write_atomically(folder / "manifest.json", b"")
        except UserError as error:
            print(error)
    """
    if os.getuid() != 0:
        open_folder.chmod(0o555)
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    open_folder.chmod(0o755)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:2] == ["Permission denied", "{'v': 'Permission denied'}"]
    assert lines[2].startswith("cannot write ") and "Permission denied; make room or" in lines[2]


def test_a_decoder_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*unused: object, **more: object) -> Iterator[tuple[str, None]]:
        raise BrokenProcessPool
        yield

    (tmp_path / "video.mp4").touch()
    monkeypatch.setattr("data_prep.cache.map_in_processes", dies)
    with pytest.raises(UserError, match=r"ended by the system.* --workers=1"):
        fill_cache([VideoEntry("v", tmp_path / "video.mp4", "test", ())], tmp_path, FrameSettings(1.0, 8))


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from data_prep.build import main
from eaglenet_jax.command import run_command
run_command(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("bytes_a_file", "what"), [(4000, "write .*frames"), (60000, "write the shards")])
def test_a_full_disk_is_one_line_and_nothing_is_lost(lsmdc: Path, tmp_path: Path, bytes_a_file: int, what: str) -> None:
    out = tmp_path / "out"
    arguments = build_arguments(lsmdc, out)
    limited = [sys.executable, "-c", LIMITED, str(bytes_a_file), *arguments]
    result = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert re.search(rf"^error: cannot {what}.*File too large.*run again", result.stderr)
    assert read_manifest(out) is None and not list(out.rglob("*.tmp"))
    before = records(out)
    result = subprocess.run(
        [sys.executable, "-m", "data_prep.build", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert before.items() <= records(out).items()
    whole_and_once(out)


@pytest.mark.slow
def test_two_builds_at_once_into_one_folder_make_it_once(lsmdc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data_prep.build", *build_arguments(lsmdc, out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    builds = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    said = [build.communicate() for build in builds]
    assert [build.returncode for build in builds] == [0, 0], said
    assert all("test: 4 videos, 4 captions" in stdout for stdout, _ in said)
    assert sum("Decoding videos" in stdout for stdout, _ in said) == 1
    whole_and_once(out)


@pytest.mark.slow
def test_a_build_killed_while_it_packs_loses_and_repeats_nothing(lsmdc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = build_arguments(lsmdc, out)
    killed = run_and_kill(["data_prep.build", *arguments], when=(out / ".shards.tmp").exists)
    workers_are_gone(killed)
    before = records(out)
    assert len(before) == VIDEOS and read_manifest(out) is None
    (next((out / "cache").iterdir()) / ".x.frames.1.tmp").touch()  # what a killed writer leaves
    result = subprocess.run(
        [sys.executable, "-m", "data_prep.build", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert records(out) == before
    whole_and_once(out)
