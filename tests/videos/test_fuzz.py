"""Random damage to good files: no crash, no hang, no picture of zeros, and a line about what did not come through."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eaglenet_jax.data.video_picture import shown
from eaglenet_jax.data.video_source import DecodeError, VideoSource
from eaglenet_jax.search.video_reader import VideoReader
from tests.videos.make import Clip, write

CASES = {
    "a.mp4": Clip(24, options=(("movflags", "faststart"),)),
    "b.mov": Clip(24, between=2, options=(("movflags", "faststart"),)),
    "c.mkv": Clip(24, between=2),
    "d.ts": Clip(24, between=2),
    "e.avi": Clip(24, codec="mpeg4"),
    "f.webm": Clip(24, codec="libvpx"),
    "g.mpg": Clip(24, 25, codec="mpeg2video"),
    "h.flv": Clip(24, codec="flv"),
    "i.avi": Clip(24, between=2),
    "j.mkv": Clip(24, codec="mpeg4"),
    "k.ts": Clip(24, 25, codec="mpeg2video"),
    "l.mp4": Clip(24, sound=2, options=(("movflags", "faststart"),)),
}
LAST = 3
MOST_SECONDS = 20.0  # of one file, on a machine with other work


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good files. Not to be changed."""
    folder = tmp_path_factory.mktemp("good")
    for name, clip in CASES.items():
        write(folder / name, clip)
    return folder


def read(path: Path) -> tuple[int, str]:
    """Number of pictures that came through, and what is said about the others."""
    try:
        with VideoSource(path) as source:
            last, count = -np.inf, 0
            for when, frame in source.frames():
                assert when > last
                last, count = when, count + 1
                assert shown(frame, source.stream).max() > 0, "a picture of zeros"
            told = "; ".join([source.incomplete() or "", *source.notes()]).strip("; ")
    except DecodeError as error:
        return 0, str(error)
    return count, told


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    name=st.sampled_from(sorted(CASES)),
    kind=st.sampled_from(["bytes", "cut", "splice", "hole"]),
    place=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_damage_never_ends_in_silence(
    good: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    kind: str,
    place: float,
    seed: int,
) -> None:
    rng, content = np.random.default_rng(seed), bytearray((good / name).read_bytes())
    at, length = int(place * len(content)), int(rng.integers(1, 4000))
    if kind == "bytes":
        for spot in rng.integers(0, len(content), rng.integers(1, 20)):
            content[spot] = rng.integers(256)
    elif kind == "cut":
        del content[at:]
    elif kind == "hole":
        del content[at : at + length]
    else:
        content[at:at] = (good / sorted(CASES)[rng.integers(len(CASES))]).read_bytes()[:length]
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    began = time.monotonic()
    count, told = read(path)
    assert time.monotonic() - began < MOST_SECONDS
    # The last pictures may be gone unseen: no header states a length more exactly than to some pictures.
    states_its_length = not name.endswith(("ts", "mpg"))
    if count < CASES[name].count - LAST and (states_its_length or kind != "cut"):
        assert told, f"{CASES[name].count - count} pictures of {name} are lost without a word ({kind} at {at})"
    if count:
        with VideoReader(path) as video:
            video.at([1.0])  # no crash either
