"""Contents of an index for people: its videos, their lengths, dates and folders; and filters by these."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO
from eaglenet_jax.search.arrow_rows import quoted
from eaglenet_jax.search.store import Store
from eaglenet_jax.wording import counted

SIZES = {"base": "B", "large": "L", "huge": "H", "giant": "g"}
MOST_FOLDERS = 200  # that a page offers


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """An indexed video.

    Attributes:
        id: Id of one of its windows.
        seconds: End of its last window.
        day: Day on which the file was last changed.
        windows: Number of its windows.
    """

    id: str
    seconds: float
    day: datetime.date
    windows: int


@dataclasses.dataclass(frozen=True)
class Library:
    """All videos of an index.

    Attributes:
        videos: By path.
        written: Time of the last commit.
        model: Short name of the model.
    """

    videos: Mapping[str, VideoFacts]
    written: datetime.datetime
    model: str

    @functools.cached_property
    def seconds(self) -> float:
        """Length of all videos."""
        return sum(video.seconds for video in self.videos.values())

    @functools.cached_property
    def folders(self) -> list[str]:
        """Folders that hold videos, and those above them up to the one that holds all, sorted."""
        parents = {str(Path(path).parent) for path in self.videos}
        if not parents:
            return []
        top = os.path.commonpath(parents)
        found = {top}
        for parent in parents:
            while parent != top and parent not in found:
                found.add(parent)
                parent = str(Path(parent).parent)
        return sorted(found)[:MOST_FOLDERS]

    def facts(self, today: datetime.date) -> str:
        """Return one line, as "36 videos, 14 minutes, model ViT-B/32, indexed today"."""
        videos = counted(len(self.videos), "video")
        return f"{videos}, {_long(self.seconds)}, model {self.model}, indexed {_ago(today, self.written.date())}"


def read_library(store: Store) -> Library:
    """Read what is in an index: one pass over the paths and times of all rows."""
    videos = {
        row["path"]: VideoFacts(
            row["id"], row["end"], datetime.date.fromtimestamp(row["file_time"] / 1e9), row["windows"]
        )
        for row in store.videos()
    }
    return Library(videos, store.written, model_name(store.settings.checkpoint))


def model_name(checkpoint: str) -> str:
    """Return a short name of a model: ViT-B/32 for a CLIP of that name, else the last part of its place."""
    vit = re.search(r"vit[-_](base|large|huge|giant|[blhg])[-_](?:patch)?(\d+)", checkpoint.lower())
    if vit:
        size, patch = vit.groups()
        return f"ViT-{SIZES.get(size, size.upper())}/{patch}"
    if checkpoint == DEMO:
        return "demo (MovingShapes)"
    return checkpoint.rstrip("/").rpartition("/")[2] or checkpoint


def _long(seconds: float) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            return counted(round(seconds / length), unit)
    return f"{round(seconds)} seconds"


def _ago(today: datetime.date, day: datetime.date) -> str:
    days = (today - day).days
    if days <= 0:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago" if days < 31 else f"on {day.isoformat()}"


@dataclasses.dataclass(frozen=True)
class Filter:
    """Videos that a query is restricted to; None and empty stand for all.

    Attributes:
        folder: Absolute folder that holds them, at any depth.
        shortest: Least length of the video in seconds.
        longest: Greatest length of the video in seconds.
        after: First day on which the file was last changed.
        before: Last day of these.

    Raises:
        UserError: No video can meet it.
    """

    folder: str = ""
    shortest: float | None = None
    longest: float | None = None
    after: datetime.date | None = None
    before: datetime.date | None = None

    def __post_init__(self) -> None:
        """Raise UserError where a lower bound is above the upper one."""
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise UserError(f"no video is longer than {self.shortest:g} s and shorter than {self.longest:g} s")
        if self.after is not None and self.before is not None and self.after > self.before:
            raise UserError(f"no video was changed after {self.after} and before {self.before}")

    def keeps(self, path: str, video: VideoFacts) -> bool:
        """Return whether a video meets it."""
        return (
            (not self.folder or path.startswith(self.folder.rstrip("/") + "/"))
            and (self.shortest is None or video.seconds >= self.shortest)
            and (self.longest is None or video.seconds <= self.longest)
            and (self.after is None or video.day >= self.after)
            and (self.before is None or video.day <= self.before)
        )

    def condition(self, library: Library) -> str | None:
        """Return the SQL condition on the rows of an index, None for all of them."""
        if self == Filter():
            return None
        kept = [path for path, video in library.videos.items() if self.keeps(path, video)]
        if len(kept) == len(library.videos):
            return None
        if self == Filter(folder=self.folder):
            return f"starts_with(path, {quoted(self.folder.rstrip('/') + '/')})"
        return f"path IN ({', '.join(map(quoted, kept))})" if kept else "false"
