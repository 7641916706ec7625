"""Rendering of MovingShapes: H.264 files and one annotation file in MSR-VTT's format."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data_prep.moving_shapes.captions import captions
from data_prep.moving_shapes.drawing import Clip, draw_clip, draw_frames
from data_prep.moving_shapes.scenes import Scene, draw_splits
from data_prep.parallel import map_in_processes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError

DEFAULT_SPLITS = {"train": 2000, "validate": 200, "test": 200}
DEFAULT_COUNTS = DEFAULT_SPLITS | {"test_1k": 1000}
RENDERER_VERSION = 1


def clip_of(video_id: str, seed: int) -> tuple[Clip, np.random.Generator]:
    """Return the camera settings of a video and the generator of its captions, which depend only on the seed and id."""
    digest = hashlib.blake2b(f"{seed} {video_id}".encode(), digest_size=16).digest()
    filming, wording = np.random.default_rng(int.from_bytes(digest, "little")).spawn(2)
    return draw_clip(filming), wording


def describe(splits: Mapping[str, int], seed: int) -> tuple[dict, dict[str, Scene]]:
    """Return the content of the annotation file, and the scene of every video id."""
    videos: list[dict] = []
    sentences: list[dict] = []
    scenes: dict[str, Scene] = {}
    for split, split_scenes in draw_splits(splits, seed).items():
        for index, scene in enumerate(split_scenes):
            video_id = f"{split}_{index:04d}"
            clip, wording = clip_of(video_id, seed)
            seconds = clip.frames * clip.rate[1] / clip.rate[0]
            times = {"start time": 0.0, "end time": round(seconds, 3)}
            videos.append({"video_id": video_id, "split": split, **times, "id": len(videos)})
            for text in captions(scene, wording):
                sentences.append({"video_id": video_id, "caption": text, "sen_id": len(sentences)})
            scenes[video_id] = scene
    info = {"description": "MovingShapes", "version": f"{RENDERER_VERSION}", "seed": seed, "splits": dict(splits)}
    return {"info": info, "videos": videos, "sentences": sentences}, scenes


def write_video(path: Path, scene: Scene, clip: Clip, container_format: str = "mp4") -> None:
    """Write one H.264 file, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with av.open(str(temporary), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=Fraction(*clip.rate))
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        # One thread and a fixed preset: the same bytes on every run, and no thread start for tiny pictures.
        stream.codec_context.thread_count = 1
        stream.options = {"preset": "veryfast", "crf": "18"}
        for image in draw_frames(scene, clip):
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    os.replace(temporary, path)


def _render_one(job: tuple[str, Scene], videos_dir: Path, seed: int) -> None:
    video_id, scene = job
    write_video(videos_dir / f"{video_id}.mp4", scene, clip_of(video_id, seed)[0])


def render(
    out: Path,
    *,
    seed: int = 0,
    splits: Mapping[str, int] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the splits into `out/videos/{video_id}.mp4` and return the path of `out/annotations.json`.

    Finished files are kept, so an interrupted call can be continued.

    Raises:
        UserError: `out` already holds MovingShapes of another seed, version or other splits.
    """
    content, scenes = describe(DEFAULT_SPLITS if splits is None else splits, seed)
    annotation_file = out / "annotations.json"
    if annotation_file.exists() and json.loads(annotation_file.read_text())["info"] != content["info"]:
        raise UserError(
            f"{annotation_file} holds MovingShapes of another seed, version or other splits; give another --out"
        )
    videos_dir = out / "videos"
    videos_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(annotation_file, json.dumps(content, indent=1).encode())
    for abandoned in videos_dir.glob(".*.tmp"):
        abandoned.unlink()
    present = {path.name for path in videos_dir.iterdir()}
    jobs = [(video_id, scene) for video_id, scene in scenes.items() if f"{video_id}.mp4" not in present]
    task = functools.partial(_render_one, videos_dir=videos_dir, seed=seed)
    for _ in map_in_processes(task, jobs, workers=workers, title="Rendering MovingShapes", progress=progress):
        pass
    return annotation_file
