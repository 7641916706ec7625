"""Assembly of a dataset: its annotations matched with its video files."""

from __future__ import annotations

import argparse
import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_prep.annotations import Annotations, CaptionedVideo, VideoEntry
from data_prep.datasets import DATASETS, TABLE, DatasetSpec, Variant, dataset_spec, held_out_parts, is_held_out
from data_prep.probe import probe
from eaglenet_jax.data.video_files import SUFFIXES, VideoFolder, stem
from eaglenet_jax.errors import UserError

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
        several_files: Video id → all its files, the one that is used first, for videos with more than one.
        unused: Video files in the folder that belong to no video of the splits.
        is_fake: Whether `data_prep.fake` wrote the annotations.
        held_out: Splits that were taken from the training videos, by the hash of their ids.
        unreadable: Folders that cannot be listed, and why.
    """

    spec: DatasetSpec
    variant_name: str
    variant: Variant
    annotations: Annotations
    splits: Mapping[str, tuple[CaptionedVideo, ...]]
    entries: tuple[VideoEntry, ...]
    several_files: Mapping[str, tuple[Path, ...]]
    unused: tuple[Path, ...]
    is_fake: bool
    held_out: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def uncaptioned(self) -> dict[str, tuple[str, ...]]:
        """Split → ids of listed videos without a caption, which cannot be used."""
        found = {name: tuple(v.video_id for v in videos if not v.captions) for name, videos in self.splits.items()}
        return {name: ids for name, ids in found.items() if ids}


def assemble(
    dataset: str,
    annotations_dir: Path,
    videos_dir: Path,
    variant: str = "",
    hold_out: bool = True,
    columns: Mapping[str, str] | None = None,
) -> Assembly:
    """Read the annotations and match them with the video files.

    Args:
        dataset: Name of the dataset.
        annotations_dir: Folder of the annotation files; the file of a table.
        videos_dir: Folder of the video files.
        variant: Name of the variant, "" for the default.
        hold_out: Take validation videos from the training videos if there are none, of a table test videos, too.
        columns: Of a table: role → name of its column.

    Raises:
        UserError: The reader refuses the annotations, or columns are named of something that is no table.
    """
    spec = dataset_spec(dataset)
    variant_name, chosen = spec.variant(variant)
    if columns and not spec.is_table:
        raise UserError(f"--columns names columns of a table, and {spec.name} is none: use --dataset=table")
    annotations = spec.read(annotations_dir, (columns or {}) if spec.is_table else variant_name)
    splits, held_out = dict(annotations.splits), dict[str, list[str]]()
    if chosen.holds_out and hold_out and "train" in splits:
        ids = [video.video_id for video in splits["train"]]
        if spec.is_table:
            # Who has a validation split and no test split wants it so.
            wanted = [part for part in ("val", "test") if part not in splits and "val" not in splits]
            held_out = held_out_parts(ids, wanted)
        else:
            held_out = {"val": [video_id for video_id in ids if is_held_out(video_id)]}
        splits = _with_held_out(splits, held_out)
    folder = VideoFolder(videos_dir)
    entries, several, used = [], {}, set[str]()
    for split, videos in splits.items():
        for video in videos:
            files = _files(folder, spec, video)
            used.update(map(os.path.realpath, files))  # a table may name a file by another way to it
            if len(files) > 1:
                files = several[video.video_id] = _readable_first(files)
            if video.captions:
                path = files[0] if files else videos_dir / (video.file or f"{video.video_id}.mp4")
                entries.append(VideoEntry(video.video_id, path, split, video.captions, clip=video.clip))
    here = (path for paths in folder.by_stem.values() for path in paths if path.suffix[1:].lower() in SUFFIXES)
    return Assembly(
        spec,
        variant_name,
        chosen,
        annotations,
        splits,
        tuple(entries),
        several,
        tuple(sorted(path for path in here if os.path.realpath(path) not in used)),
        (annotations_dir / FAKE_MARK).is_file(),
        tuple(split for split in held_out if split in splits),
        folder.unreadable,
    )


def _readable_first(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Put the first file that can be decoded in front."""
    good = next((file for file in files if probe(file).reason is None), files[0])
    return (good, *(file for file in files if file != good))


def _with_held_out(
    splits: Mapping[str, tuple[CaptionedVideo, ...]], held_out: Mapping[str, Sequence[str]]
) -> dict[str, tuple[CaptionedVideo, ...]]:
    """Splits of which videos of "train" are moved to others."""
    part_of = {video_id: part for part, ids in held_out.items() for video_id in ids}
    parts: dict[str, list[CaptionedVideo]] = {"train": [], **{part: [] for part in held_out}}
    for video in splits["train"]:
        parts[part_of.get(video.video_id, "train")].append(video)
    others = {name: videos for name, videos in splits.items() if name != "train"}
    return {name: tuple(videos) for name, videos in parts.items() if videos} | others


def _files(folder: VideoFolder, spec: DatasetSpec, video: CaptionedVideo) -> tuple[Path, ...]:
    """All files of a video; where a table names one with folders or ending, that which fits it best comes first."""
    if not video.file:
        return folder.find(spec.file_stems(video.video_id))
    place = PurePosixPath(video.file.replace("\\", "/"))
    if place.is_absolute() and Path(place).is_file():
        return (Path(place),)
    wanted = [unicodedata.normalize("NFC", part) for part in place.parent.parts]

    def parents(path: Path) -> list[str]:
        return [unicodedata.normalize("NFC", part) for part in path.relative_to(folder.folder).parent.parts]

    found = folder.find((stem(place.name), place.name))
    within = [path for path in found if not wanted or parents(path)[-len(wanted) :] == wanted]
    exact = [path for path in within if unicodedata.normalize("NFC", path.name) == place.name]
    if place.is_absolute():
        return tuple(exact or found)
    return tuple(exact or within)


def add_dataset_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the flags that build and doctor share; `required`: the dataset and its places have to be given."""
    parser.add_argument(
        "--dataset", required=required, help=", ".join((*DATASETS, f"or {TABLE.name}, videos of your own"))
    )
    parser.add_argument(
        "--annotations", required=required, type=Path, help="folder of the annotation files; of a table, its file"
    )
    parser.add_argument(
        "--columns",
        default={},
        type=_columns,
        metavar="ROLE=NAME,…",
        help="of a table: names of columns, as video=file,caption=text (roles: video, caption, split, start, end, id)",
    )
    parser.add_argument("--videos", required=required, type=Path, help="folder of the video files, subfolders included")
    parser.add_argument("--out", required=required, type=Path, help="folder to prepare")
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
        "--released-frames",
        action="store_true",
        help="the frames of the released programs: counted by the file's integer frame rate, not taken by their times,"
        " and without the correction of pixels that are not square",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")


def _columns(text: str) -> dict[str, str]:
    """Roles and names of columns of the flag."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(role.strip() and name.strip() for role, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=NAME,ROLE=NAME")
    return {role.strip(): name.strip() for role, _, name in pairs}
