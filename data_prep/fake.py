"""`python -m data_prep.fake --dataset=msrvtt --videos=40 --out=DIR`: write a small folder in a dataset's true layout.

Rendered clips (MovingShapes) under ids of the dataset's form, with annotation files in its formats, to try every
command before the download ends. Writes DIR/annotations and DIR/videos.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.assemble import FAKE_MARK
from data_prep.datasets import DATASETS, dataset_spec, is_held_out
from data_prep.fake_clips import draw_clip
from data_prep.fake_formats import WRITERS, file_name, video_id
from data_prep.flag_checks import check_numbers
from data_prep.moving_shapes.captions import captions
from data_prep.moving_shapes.render import clip_of
from data_prep.moving_shapes.scenes import Scene, draw_splits
from data_prep.parallel import map_in_processes
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

LEAST_VIDEOS = 16
CAPTIONS_OF_VIDEO = 20
# Datasets without a file of validation videos.
WITHOUT_VAL = ("activitynet", "charades")


def split_sizes(dataset: str, videos: int) -> dict[str, int]:
    """Divide `videos` into splits: a quarter for test, an eighth for validation if the dataset has it."""
    sizes = {"train": 0, "val": videos // 8, "test": videos // 4}
    if dataset in WITHOUT_VAL:
        del sizes["val"]
    return sizes | {"train": videos - sum(sizes.values())}


def draw_ids(dataset: str, split: str, count: int, seed: int) -> list[str]:
    """Draw `count` ids in the dataset's form; in `train` one in eight is held out for validation by a build."""
    rng = np.random.default_rng([seed, list(DATASETS).index(dataset), ("train", "val", "test").index(split)])
    held_out = max(2, count // 8) if split == "train" else 0
    wanted = {True: held_out, False: count - held_out}
    found: dict[str, None] = {}
    index = 0
    while len(found) < count:
        name = video_id(dataset, split, index, rng)
        index += 1
        kind = split == "train" and is_held_out(name)
        if name not in found and wanted[kind]:
            wanted[kind] -= 1
            found[name] = None
    return sorted(found) if dataset == "charades" else list(found)


def fake(
    dataset: str, out: Path, *, videos: int = 40, seed: int = 0, workers: int | None = None, progress: bool = True
) -> tuple[Path, Path]:
    """Write the folder and return (annotations, videos).

    Raises:
        UserError: `out` contains other files, or `videos` is too small.
    """
    dataset_spec(dataset)
    if videos < LEAST_VIDEOS:
        raise UserError(f"--videos is {videos}; give {LEAST_VIDEOS} or more, so that every split has some")
    annotations_dir, videos_dir = out / "annotations", out / "videos"
    mark = annotations_dir / FAKE_MARK
    if out.exists() and any(out.iterdir()) and not mark.is_file():
        raise UserError(f"{out} is not empty and was not written by this command; give another --out")
    for folder in (annotations_dir, videos_dir):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, b"Made up: drawn clips under ids of the dataset's form. Not the dataset.\n")
    sizes = split_sizes(dataset, videos)
    scenes = draw_splits({{"val": "validate"}.get(split, split): count for split, count in sizes.items()}, seed)
    splits, jobs = {}, []
    for (split, count), drawn in zip(sizes.items(), scenes.values(), strict=True):
        names = draw_ids(dataset, split, count, seed)
        splits[split] = [(name, _captions(name, scene, seed)) for name, scene in zip(names, drawn, strict=True)]
        jobs += [(name, file_name(dataset, name, i), s) for i, (name, s) in enumerate(zip(names, drawn, strict=True))]
    WRITERS[dataset](annotations_dir, splits)
    missing = [job for job in jobs if not (videos_dir / job[1]).is_file()]
    task = functools.partial(draw_clip, videos_dir=videos_dir, seed=seed)
    for _ in map_in_processes(task, missing, workers=workers, title="Drawing clips", progress=progress):
        pass
    return annotations_dir, videos_dir


def _captions(name: str, scene: Scene, seed: int) -> list[str]:
    wording = clip_of(name, seed)[1]
    texts: list[str] = []
    while len(texts) < CAPTIONS_OF_VIDEO:
        texts += captions(scene, wording)
    return texts[:CAPTIONS_OF_VIDEO]


def main(argv: Sequence[str]) -> int:
    """Write the folder that the flags describe and print the commands to try on it."""
    parser = Parser("python -m data_prep.fake", description=__doc__)
    parser.add_argument("--dataset", required=True, help=", ".join(DATASETS))
    parser.add_argument("--videos", type=int, default=40, help="how many (default 40)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="the clips are a function of this number")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    flags = parser.parse_args(argv)
    check_numbers(flags, parser)
    annotations_dir, videos_dir = fake(
        flags.dataset, flags.out, videos=flags.videos, seed=flags.seed, workers=flags.workers
    )
    common = f"--dataset={flags.dataset} --annotations={annotations_dir} --videos={videos_dir}"
    print(f"python -m data_prep.doctor {common} --out={flags.out / 'prepared'}")
    print(f"python -m data_prep.build {common} --out={flags.out / 'prepared'}")
    return 0


if __name__ == "__main__":
    run_command(main)
