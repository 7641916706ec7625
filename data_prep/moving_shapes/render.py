"""Rendering of MovingShapes: H.264 files and one annotation file in MSR-VTT's format."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from data_prep.moving_shapes.drawing import Clip, draw_clip, draw_frames, draw_shots
from data_prep.moving_shapes.events import ONE_EVENT, Events, draw_event_clips, event_captions
from data_prep.moving_shapes.scenes import Scene
from data_prep.parallel import map_in_processes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError

DEFAULT_SPLITS = {"train": 2000, "validate": 200, "test": 200}
DEFAULT_COUNTS = DEFAULT_SPLITS | {"test_1k": 1000}
RENDERER_VERSION = 1
# Name of a drawn split in the annotations, where it differs: test_1k is the larger of two splits to test on.
ANNOTATED_SPLITS = {"test_1k": "test"}


@dataclasses.dataclass(frozen=True)
class Shot:
    """One event of a clip as it is filmed."""

    scene: Scene
    clip: Clip

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.clip.frames * self.clip.rate[1] / self.clip.rate[0]


def _generators(video_id: str, seed: int, events: Events) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the generators of a video's pictures and of its captions."""
    digest = hashlib.blake2b(f"{seed} {video_id}{events.label}".encode(), digest_size=16).digest()
    filming, wording = np.random.default_rng(int.from_bytes(digest, "little")).spawn(2)
    return filming, wording


def clip_of(video_id: str, seed: int) -> tuple[Clip, np.random.Generator]:
    """Return the camera settings of a video of one event and the generator of its captions.

    They depend only on the seed and the id.
    """
    filming, wording = _generators(video_id, seed, ONE_EVENT)
    return draw_clip(filming), wording


def describe(
    splits: Mapping[str, int], seed: int, events: Events = ONE_EVENT
) -> tuple[dict[str, Any], dict[str, tuple[Shot, ...]]]:
    """Return the content of the annotation file, and the shots of every video id.

    In the annotation file of clips of several events, a video has "events" with start and end in seconds; a sentence
    has the indices of the "events" that it tells of, and their "interval", [start, end].

    Raises:
        UserError: Two splits have one name in the file.
    """
    for name, annotated in ANNOTATED_SPLITS.items():
        if name in splits and annotated in splits:
            raise UserError(f"MovingShapes: {name} and {annotated} are both called {annotated}; draw one of them")
    videos: list[dict[str, Any]] = []
    sentences: list[dict[str, Any]] = []
    shots: dict[str, tuple[Shot, ...]] = {}
    for split, count in splits.items():
        for index, drawn in enumerate(draw_event_clips(split, count, seed, events)):
            video_id = f"{split}_{index:04d}"
            filming, wording = _generators(video_id, seed, events)
            clips = draw_shots(filming, len(drawn.scenes))
            shots[video_id] = tuple(Shot(scene, clip) for scene, clip in zip(drawn.scenes, clips, strict=True))
            ends = [round(float(end), 3) for end in np.cumsum([shot.seconds for shot in shots[video_id]])]
            times: dict[str, Any] = {"start time": 0.0, "end time": ends[-1]}
            intervals = list(zip([0.0, *ends], ends, strict=False))
            if events.count > 1:
                times["events"] = [{"start": start, "end": end} for start, end in intervals]
            name = ANNOTATED_SPLITS.get(split, split)
            videos.append({"video_id": video_id, "split": name, **times, "id": len(videos)})
            for caption in event_captions(drawn.scenes, drawn.first, events, wording):
                sentence = {"video_id": video_id, "caption": caption.text, "sen_id": len(sentences)}
                if events.count > 1:
                    sentence["events"] = list(caption.events)
                    sentence["interval"] = [intervals[caption.events[0]][0], intervals[caption.events[-1]][1]]
                sentences.append(sentence)
    info = {"description": "MovingShapes", "version": f"{RENDERER_VERSION}", "seed": seed, "splits": dict(splits)}
    if events.count > 1:
        info["events"] = dataclasses.asdict(events)
    return {"info": info, "videos": videos, "sentences": sentences}, shots


@functools.cache
def _encoder_options() -> Mapping[str, str]:
    """Return the options of x264 under which a clip has the same bytes on every run."""
    options = {"preset": "veryfast", "crf": "18"}
    facts = Path("/proc/cpuinfo")
    # With AVX-512, x264 gives some clips other bytes from run to run. Every such processor has what AVX2 needs, with
    # which it does not.
    if facts.is_file() and "avx512" in facts.read_text():
        options["x264-params"] = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
    return options


def write_video(path: Path, shots: Sequence[Shot], container_format: str = "mp4") -> None:
    """Write one H.264 file, atomically."""
    first = shots[0].clip
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with av.open(str(temporary), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=Fraction(*first.rate))
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        # One thread and fixed options: the same bytes on every run, and no thread start for tiny pictures.
        stream.codec_context.thread_count = 1
        stream.options = dict(_encoder_options())
        for shot in shots:
            for image in draw_frames(shot.scene, shot.clip):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    os.replace(temporary, path)


def _render_one(job: tuple[str, tuple[Shot, ...]], videos_dir: Path) -> None:
    video_id, shots = job
    write_video(videos_dir / f"{video_id}.mp4", shots)


def render(
    out: Path,
    *,
    seed: int = 0,
    splits: Mapping[str, int] | None = None,
    events: Events = ONE_EVENT,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the splits into `out/videos/{video_id}.mp4` and return the path of `out/annotations.json`.

    Finished files are kept, so an interrupted call can be continued.

    Raises:
        UserError: `out` already holds MovingShapes of another seed, version, events or splits.
    """
    content, shots = describe(DEFAULT_SPLITS if splits is None else splits, seed, events)
    annotation_file = out / "annotations.json"
    if annotation_file.exists() and json.loads(annotation_file.read_text())["info"] != content["info"]:
        raise UserError(
            f"{annotation_file} holds MovingShapes of another seed, version, events or splits; give another --out"
        )
    videos_dir = out / "videos"
    videos_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(annotation_file, json.dumps(content, indent=1).encode())
    for abandoned in videos_dir.glob(".*.tmp"):
        abandoned.unlink()
    present = {path.name for path in videos_dir.iterdir()}
    jobs = [(video_id, filmed) for video_id, filmed in shots.items() if f"{video_id}.mp4" not in present]
    task = functools.partial(_render_one, videos_dir=videos_dir)
    for _ in map_in_processes(task, jobs, workers=workers, title="Rendering MovingShapes", progress=progress):
        pass
    return annotation_file
