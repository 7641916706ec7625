"""Supported datasets by name: reader, variants of the protocol, expected counts, names of the video files.

A new dataset is a reader in readers/, a `DatasetSpec` here and a config of the same name in configs/.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations import Annotations
from data_prep.readers.activitynet import read_activitynet
from data_prep.readers.charades import read_charades
from data_prep.readers.didemo import read_didemo
from data_prep.readers.lsmdc import read_lsmdc
from data_prep.readers.msrvtt import read_msrvtt
from data_prep.readers.msvd import read_msvd
from data_prep.readers.table import read_table
from data_prep.readers.vatex import read_vatex
from eaglenet_jax.errors import UserError, did_you_mean

HELD_OUT_SHARE = 0.05
SINGLE, SEVERAL, PARAGRAPH = "one caption a video", "several captions a video", "one paragraph a video"
ANY_NUMBER = "one or more captions a video"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One protocol of a dataset. A variant without a "val" split gets one from its training videos (`is_held_out`).

    Attributes:
        about: One phrase that describes it.
        expected: Split → (videos, captions) of the complete files; None where not known.
        test_protocol: Captions a video in evaluation.
    """

    about: str
    expected: Mapping[str, tuple[int, int | None]]
    test_protocol: str

    @property
    def holds_out(self) -> bool:
        """Whether validation has to be taken from the training videos."""
        return "val" not in self.expected


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A supported dataset.

    Attributes:
        name: Name on the command line.
        title: Published name.
        read: Reader of its annotation files, of a folder and a variant; of a table, of its file and its columns.
        variants: Variants by name, the default first.
        first_seconds: Part of every video that is used, None for all.
        id_prefix: Beginning of the ids that names of video files may leave out.
        is_table: Whether its annotations are one table, whose columns can be named.
    """

    name: str
    title: str
    read: Callable[[Path, Any], Annotations]
    variants: Mapping[str, Variant]
    first_seconds: float | None = None
    id_prefix: str = ""
    is_table: bool = False

    @property
    def default_variant(self) -> str:
        """The variant that the config of this name is for."""
        return next(iter(self.variants))

    def variant(self, name: str) -> tuple[str, Variant]:
        """Return (name, variant), the default for "".

        Raises:
            UserError: There is no such variant.
        """
        name = name or self.default_variant
        if name not in self.variants:
            raise UserError(f"--variant: {self.name} has no variant {name!r}; choose one of {', '.join(self.variants)}")
        return name, self.variants[name]

    def file_stems(self, video_id: str) -> tuple[str, ...]:
        """Return the possible names of a video's file, without suffix, the usual one first."""
        short = video_id.removeprefix(self.id_prefix)
        return (video_id,) if short == video_id else (video_id, short)


def is_held_out(video_id: str) -> bool:
    """Return whether a training video is held out for a dataset without validation split: one in twenty, by its id.

    The first 32 bits of BLAKE2b of "validation " and the id, as a share of 2^32, are below 0.05.
    """
    return _share("validation", video_id) < HELD_OUT_SHARE


def held_out_parts(video_ids: Sequence[str], parts: Sequence[str]) -> dict[str, list[str]]:
    """Choose videos of a table for parts that it does not have: those whose ids have the smallest hashes.

    Args:
        video_ids: Of the training videos.
        parts: Of "val" and "test".

    Returns:
        Part → its ids, in the order of `video_ids`: a tenth of all, or five where that is less and no more than a
        fifth; at least one.
    """
    left, found = list(video_ids), dict[str, list[str]]()
    count = max(round(len(left) * TABLE_SHARE), min(TABLE_LEAST, len(left) // 5), 1)
    for part, purpose in (("val", "validation"), ("test", "test")):
        if part in parts and len(left) > count:
            chosen = set(sorted(left, key=lambda video_id: (_share(purpose, video_id), video_id))[:count])
            found[part] = [video_id for video_id in left if video_id in chosen]
            left = [video_id for video_id in left if video_id not in chosen]
    return found


def _share(purpose: str, video_id: str) -> float:
    """A number from 0 to 1 that belongs to the id and the purpose."""
    digest = hashlib.blake2b(f"{purpose} {video_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") / 2**32


_JSFUSION = {"test": (1000, 1000)}
_SPECS = (
    DatasetSpec(
        "msrvtt",
        "MSR-VTT",
        read_msrvtt,
        variants={
            "1ka-9k": Variant("1k-A test, 9,000 training videos", {"train": (9000, 180000)} | _JSFUSION, SINGLE),
            "1ka-7k": Variant("1k-A test, 7,010 training videos", {"train": (7010, 140200)} | _JSFUSION, SINGLE),
            "full": Variant(
                "the official split", {"train": (6513, 130260), "val": (497, 9940), "test": (2990, 59800)}, SEVERAL
            ),
        },
    ),
    DatasetSpec(
        "msvd",
        "MSVD",
        read_msvd,
        variants={
            "official": Variant(
                "the official split", {"train": (1200, 48774), "val": (100, 4290), "test": (670, 27763)}, SEVERAL
            )
        },
    ),
    DatasetSpec(
        "didemo",
        "DiDeMo",
        read_didemo,
        variants={
            "paragraphs": Variant(
                "tables of paragraphs", {"train": (8362, 8362), "val": (1062, 1062), "test": (1004, 1004)}, PARAGRAPH
            ),
            "moments": Variant(
                "original moments, joined",
                {"train": (8392, 8392), "val": (1065, 1065), "test": (1004, 1004)},
                PARAGRAPH,
            ),
        },
        first_seconds=30.0,
    ),
    DatasetSpec(
        "vatex",
        "VATEX",
        read_vatex,
        variants={
            "hgr": Variant(
                "official validation videos in halves",
                {"train": (25991, 259910), "val": (1500, 15000), "test": (1500, 15000)},
                SEVERAL,
            ),
            "1k5-sec": Variant(
                "test from test1k5_sec_list.txt",
                {"train": (25991, 259910), "val": (1500, 15000), "test": (1500, 15000)},
                SEVERAL,
            ),
        },
    ),
    DatasetSpec(
        "activitynet",
        "ActivityNet Captions",
        read_activitynet,
        variants={
            "val_1": Variant("test on val_1", {"train": (10009, 10009), "test": (4917, 4917)}, PARAGRAPH),
            "val_2": Variant("test on val_2", {"train": (10009, 10009), "test": (4885, 4885)}, PARAGRAPH),
        },
        id_prefix="v_",
    ),
    DatasetSpec(
        "lsmdc",
        "LSMDC",
        read_lsmdc,
        variants={"1000": Variant("1,000 test clips", {"val": (7408, 7408), "test": (1000, 1000)}, SINGLE)},
    ),
    DatasetSpec(
        "charades",
        "Charades",
        read_charades,
        variants={
            "script": Variant("the script", {"train": (7985, 7985), "test": (1863, 1863)}, SINGLE),
            "descriptions": Variant("all descriptions", {"train": (7985, None), "test": (1863, None)}, SEVERAL),
        },
    ),
)
DATASETS: Mapping[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}


# Videos of one's own, in any number; the config `own` trains on them.
TABLE = DatasetSpec("table", "A table of videos", read_table, {"rows": Variant("all", {}, ANY_NUMBER)}, is_table=True)
TABLE_SHARE, TABLE_LEAST = 0.1, 5  # of its videos for validation, and as many for test


def dataset_spec(name: str) -> DatasetSpec:
    """Return the dataset of that name.

    Raises:
        UserError: There is none; suggests the nearest name.
    """
    if name == TABLE.name:
        return TABLE
    if name in DATASETS:
        return DATASETS[name]
    names = (*DATASETS, TABLE.name)
    hint = did_you_mean(name, names, f"there are: {', '.join(names)}")
    raise UserError(f"--dataset: {name!r} is unknown; {hint}")
