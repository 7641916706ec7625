"""The drawn clips of `data_prep.fake`, in a module of their own: processes that draw them cannot see a command's."""

from __future__ import annotations

from pathlib import Path, PurePath

from data_prep.fake_formats import CONTAINERS
from data_prep.moving_shapes.render import clip_of, write_video
from data_prep.moving_shapes.scenes import Scene

Clip = tuple[str, str, Scene]  # id, file below the folder of videos, what is drawn


def draw_clip(clip: Clip, videos_dir: Path, seed: int) -> None:
    """Writes one clip in the container that its file's suffix asks for."""
    name, file, scene = clip
    path = videos_dir / file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, scene, clip_of(name, seed)[0], CONTAINERS.get(PurePath(file).suffix, "mp4"))
