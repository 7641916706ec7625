"""Clips of `data_prep.fake`, in a module of their own because worker processes cannot import a command's module."""

from __future__ import annotations

from pathlib import Path, PurePath

from data_prep.fake_formats import CONTAINERS
from data_prep.moving_shapes.render import Shot, clip_of, write_video
from data_prep.moving_shapes.scenes import Scene

Clip = tuple[str, str, Scene]  # id, file below the folder of videos, scene


def draw_clip(clip: Clip, videos_dir: Path, seed: int) -> None:
    """Write one clip in the container format of its file's suffix."""
    name, file, scene = clip
    path = videos_dir / file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [Shot(scene, clip_of(name, seed)[0])], CONTAINERS.get(PurePath(file).suffix, "mp4"))
