"""Assembly of a dataset: its annotations matched with its video files."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from data_prep.annotations import Annotations, CaptionedVideo, VideoEntry
from data_prep.datasets import DATASETS, DatasetSpec, Variant, dataset_spec, is_held_out
from eaglenet_jax.data.video_files import VideoFolder

FAKE_MARK = "made_by_data_prep_fake.txt"


@dataclasses.dataclass(frozen=True)
class Assembly:
    """A variant of a dataset with its video files.

    Attributes:
        spec: The dataset.
        variant_name: Name of the variant.
        variant: The variant.
        annotations: As read from the files.
        splits: Splits as used, with validation held out.
        entries: The captioned videos of all splits; the path of a missing one is where it is expected.
        several_files: Video id → all its files, for videos with more than one.
        files_here: Number of video files in the folder.
        is_fake: Whether `data_prep.fake` wrote the annotations.
    """

    spec: DatasetSpec
    variant_name: str
    variant: Variant
    annotations: Annotations
    splits: Mapping[str, tuple[CaptionedVideo, ...]]
    entries: tuple[VideoEntry, ...]
    several_files: Mapping[str, tuple[Path, ...]]
    files_here: int
    is_fake: bool

    @property
    def uncaptioned(self) -> dict[str, tuple[str, ...]]:
        """Split → ids of listed videos without a caption, which cannot be used."""
        found = {name: tuple(v.video_id for v in videos if not v.captions) for name, videos in self.splits.items()}
        return {name: ids for name, ids in found.items() if ids}


def assemble(
    dataset: str, annotations_dir: Path, videos_dir: Path, variant: str = "", hold_out: bool = True
) -> Assembly:
    """Read the annotations and match them with the video files.

    Args:
        dataset: Name of the dataset.
        annotations_dir: Folder of the annotation files.
        videos_dir: Folder of the video files.
        variant: Name of the variant, "" for the default.
        hold_out: Take validation videos from the training videos if the variant has none.

    Raises:
        UserError: The reader refuses the annotations.
    """
    spec = dataset_spec(dataset)
    variant_name, chosen = spec.variant(variant)
    annotations = spec.read(annotations_dir, variant_name)
    splits = dict(annotations.splits)
    if chosen.holds_out and hold_out and "train" in splits:
        train = splits.pop("train")
        parts = {
            "train": tuple(video for video in train if not is_held_out(video.video_id)),
            "val": tuple(video for video in train if is_held_out(video.video_id)),
        }
        splits = {name: videos for name, videos in parts.items() if videos} | splits
    folder = VideoFolder(videos_dir)
    entries, several = [], {}
    for split, videos in splits.items():
        for video in videos:
            files = folder.find(spec.file_stems(video.video_id))
            if len(files) > 1:
                several[video.video_id] = files
            if video.captions:
                path = files[0] if files else videos_dir / f"{video.video_id}.mp4"
                entries.append(VideoEntry(video.video_id, path, split, video.captions))
    return Assembly(
        spec,
        variant_name,
        chosen,
        annotations,
        splits,
        tuple(entries),
        several,
        len(folder),
        (annotations_dir / FAKE_MARK).is_file(),
    )


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that build and doctor share."""
    parser.add_argument("--dataset", required=True, help=", ".join(DATASETS))
    parser.add_argument("--annotations", required=True, type=Path, help="folder of the annotation files")
    parser.add_argument("--videos", required=True, type=Path, help="folder of the video files, subfolders included")
    parser.add_argument("--out", required=True, type=Path, help="folder to prepare")
    variants = "; ".join(f"{spec.name}: {', '.join(spec.variants)}" for spec in DATASETS.values())
    parser.add_argument("--variant", default="", help=f"protocol, default the first ({variants})")
    parser.add_argument(
        "--no-hold-out",
        dest="hold_out",
        action="store_false",
        help="train on all training videos, as the released programs do, where the dataset has no validation split;"
        " there is no val split then, and training needs --config.selection=test",
    )
    parser.add_argument("--fps", type=float, default=1.0, help="frames to store a second (default 1)")
    parser.add_argument("--size", type=int, default=224, help="side of the stored frames in pixels (default 224)")
    parser.add_argument(
        "--timestamps",
        action="store_true",
        help="sample by the frames' own times and not by the file's frame rate; for files of variable frame rate",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")


def check_numbers(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exit with the parser's error for sizes, rates and counts below their minimum."""
    for name, least in (("fps", 0.001), ("size", 1), ("workers", 1)):
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            parser.error(f"--{name} is {value}; give {least} or more")
