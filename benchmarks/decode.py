"""Benchmark of decoding: one pass from the start, as data_prep does, and OpenCV seeking to every frame, as released.

    python -m benchmarks.decode --videos=DIR [--files='msrvtt*'] [--json]

One frame a second of every video below DIR, to RGB in memory, one thread each, in turn for every file. Counted is CPU
time, which other programs on the machine do not lengthen. Also: the share of frames that are equal to the bit, the time
of data_prep's whole processing (resize, crop, JPEG), and the size on disk per hour of video. Needs
opencv-python-headless for the seeking side; without it only our own side is measured, which is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.measure import announce
from data_prep.probe import probe
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.data.decode import DECODER, Sampling, VideoWalk, decode
from eaglenet_jax.data.video_files import VideoFolder
from eaglenet_jax.errors import UserError


def sequential(path: Path) -> list[np.ndarray]:
    """Read the sampled frames in one pass through the file, each [H, W, 3] uint8 RGB."""
    with VideoWalk(path, Sampling()) as walk:
        return list(walk.pictures())


def seeking(path: Path, cv2: ModuleType) -> list[np.ndarray]:
    """Read the same frames by setting OpenCV's position before each."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    step = max(1, int(video.get(cv2.CAP_PROP_FPS)))
    frames = []
    for position in range(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)), step):
        video.set(cv2.CAP_PROP_POS_FRAMES, position)
        found, frame = video.read()
        if not found:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    video.release()
    return frames


@dataclasses.dataclass(frozen=True)
class Row:
    """Result for one file, in CPU seconds. identical (frames equal to the bit), seeking_*: None without OpenCV."""

    file: str
    hours: float
    frames: int
    sequential_seconds: float
    stored_seconds: float
    stored_bytes: int
    seeking_frames: int | None = None
    seeking_seconds: float | None = None
    identical: int | None = None


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def measure(path: Path, cv2: ModuleType | None, rounds: int = 1) -> Row:
    """Return the best of `rounds` of each way; every round runs all of them in turn."""
    ours, stored, theirs = [], [], []
    frames: list[np.ndarray] = []
    other: list[np.ndarray] = []
    for _ in range(rounds):
        if cv2 is not None:
            other, seconds = _timed(lambda: seeking(path, cv2))
            theirs.append(seconds)
        frames, seconds = _timed(lambda: sequential(path))
        ours.append(seconds)
        video, seconds = _timed(lambda: decode(path))
        stored.append(seconds)
    hours = float(video.provenance["seconds"] or 0) / 3600
    row = Row(path.name, hours, len(frames), min(ours), min(stored), sum(map(len, video.frames)))
    if cv2 is None:
        return row
    identical = sum(np.array_equal(a, b) for a, b in zip(frames, other, strict=False))
    return dataclasses.replace(row, seeking_frames=len(other), seeking_seconds=min(theirs), identical=identical)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Sum up all files."""
    frames, hours = sum(row.frames for row in rows), sum(row.hours for row in rows)
    ours, stored = sum(row.sequential_seconds for row in rows), sum(row.stored_seconds for row in rows)
    result = {
        "videos": len(rows),
        "frames": frames,
        "hours": hours,
        "sequential": {"frames_per_s": frames / ours, "videos_per_s": len(rows) / ours},
        "with_resize_and_jpeg": {"frames_per_s": frames / stored, "videos_per_s": len(rows) / stored},
        "stored_mb_per_hour": sum(row.stored_bytes for row in rows) / 1e6 / hours if hours else None,
    }
    if all(row.seeking_seconds is not None for row in rows):
        theirs = sum(row.seeking_seconds or 0 for row in rows)
        found = sum(row.seeking_frames or 0 for row in rows)
        result["seeking"] = {"frames_per_s": found / theirs, "videos_per_s": len(rows) / theirs}
        result["times_faster"] = theirs / ours
        result["identical_share"] = sum(row.identical or 0 for row in rows) / max(frames, found)
    return result


def _opencv() -> ModuleType | None:
    try:
        import cv2
    except ImportError:
        print("OpenCV is not installed: only our side is measured; pip install opencv-python-headless", file=sys.stderr)
        return None
    cv2.setNumThreads(1)
    return cv2


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = Parser("python -m benchmarks.decode", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of video files")
    parser.add_argument("--files", default="*", help="pattern of file names (default: all)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, of which the best counts (default 1)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    flags = parser.parse_args(argv)
    found = sorted(path for files in VideoFolder(flags.videos).by_stem.values() for path in files)
    chosen = [path for path in found if fnmatch.fnmatch(path.name, flags.files)]
    paths = [path for path in chosen if probe(path).reason is None]
    if not paths:
        raise UserError(f"no file in {flags.videos} matches {flags.files!r} and can be decoded; check --files")
    if flags.rounds < 1:
        raise UserError(f"--rounds is {flags.rounds}; give 1 or more")
    cv2 = _opencv()
    rows = []
    for number, path in enumerate(paths, 1):
        announce(f"{number} of {len(paths)}: {path.name}")
        rows.append(measure(path, cv2, flags.rounds))
    total = summary(rows)
    versions = {"decoder": DECODER, "opencv": cv2 and cv2.__version__, "load_average": round(os.getloadavg()[0], 2)}
    if flags.json:
        print(json.dumps({**versions, "all": total, "files": [dataclasses.asdict(row) for row in rows]}, indent=1))
        return 0
    for row in rows:
        faster = f"{row.seeking_seconds / row.sequential_seconds:5.1f} times" if row.seeking_seconds else ""
        print(f"{row.file[:40]:40} {row.frames:4} frames {row.sequential_seconds:7.3f} s {faster}")
    for name, value in total.items():
        shown = ", ".join(f"{key} {part:.2f}" for key, part in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {shown:.3f}" if isinstance(shown, float) else f"{name}: {shown}")
    print(f"{DECODER}; {'OpenCV ' + cv2.__version__ if cv2 else 'no OpenCV'}; load average {versions['load_average']}")
    return 0


if __name__ == "__main__":
    run_command(main)
