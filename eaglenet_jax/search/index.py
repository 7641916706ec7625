"""Searchable index of videos, for programs: `SearchIndex.open(uri)`, `.add(…)`, `.query(…)`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO, DEMO_MODEL
from eaglenet_jax.search.adding import Added, How, add_files, add_videos
from eaglenet_jax.search.confidence import Calibration, calibrate, sentences_id
from eaglenet_jax.search.levels import Measured, has_changed, read_measured, write_measured
from eaglenet_jax.search.library import Filter, Library, read_library
from eaglenet_jax.search.model import SearchModel, open_model, open_model_of
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.presence import PresentRows, prune
from eaglenet_jax.search.query import Query, find, image_query, probe, text_query, video_query
from eaglenet_jax.search.rows import StoreSettings
from eaglenet_jax.search.store import Store
from eaglenet_jax.search.windows import WindowRule

Place = str | os.PathLike[str]
RERANK = 100  # candidates that the head rescores where nothing else is asked for
LOOKED_FOR = 20  # missing files whose return has the levels measured again


class SearchIndex:
    """An index and its model. Compiled functions are kept, so later queries of a process are fast."""

    def __init__(self, store: Store, checkpoint: str) -> None:
        self.store = store
        self._checkpoint = checkpoint
        self._library: tuple[int, Library] | None = None
        self._measured: Measured | None = None
        self._away: tuple[str, ...] = ()  # some files that were missing when it was measured
        self.unkept = ""
        """Why the levels that this process has measured are not kept in the index; empty if they are."""
        self.gone: set[str] = set()
        """Paths of files that are gone, whose moments queries have left out."""

    @classmethod
    def open(cls, uri: Place, checkpoint: Place | None = None) -> SearchIndex:
        """Open an existing index.

        The model is opened at first use.

        Args:
            uri: A folder, or a URI that LanceDB opens (s3://…, gs://…, az://…).
            checkpoint: Place of its model, by default the one with which the index was created.

        Raises:
            UserError: There is no index.
        """
        store = Store.open(str(uri))
        known = store.settings.checkpoint
        # Folders are recorded by absolute path, so "demo" is the shipped model, even if a folder has that name.
        return cls(store, str(checkpoint or (DEMO_MODEL if known == DEMO else known)))

    @classmethod
    def create(cls, uri: Place, checkpoint: Place, rule: WindowRule | None = None) -> SearchIndex:
        """Create an index, or open the existing one if it has the same model and windows.

        Args:
            uri: As in `open`.
            checkpoint: A work directory, a folder of `search export`, or a Hugging Face CLIP by folder or name.
            rule: How videos are cut into windows, by default 12 s with an overlap of 4 s.

        Raises:
            UserError: The existing index has another model or other windows.
        """
        model = open_model(checkpoint)
        settings = StoreSettings(
            model.identity, model.source, model.width, model.system.max_frames, rule or WindowRule()
        )
        index = cls(Store.open_or_create(str(uri), settings), str(checkpoint))
        index.__dict__["model"] = model
        return index

    @functools.cached_property
    def model(self) -> SearchModel:
        """Encoders and head.

        Raises:
            UserError: They cannot be opened, or are not those of the index.
        """
        return open_model_of(self.store.settings, self.store.uri, self._checkpoint)

    @property
    def is_demo(self) -> bool:
        """Whether its model is the one that ships with the package, which knows MovingShapes alone."""
        return self.store.settings.checkpoint == DEMO

    @property
    def library(self) -> Library:
        """Videos that are in the index now."""
        version = self.store.version
        if self._library is None or self._library[0] != version:
            self._library = version, read_library(self.store)
        return self._library[1]

    @property
    def calibration(self) -> Calibration:
        """Levels of the scores, kept in the index; takes some seconds the first time and when much has changed.

        They are not kept where more than a fifth of the rows are of files that are not there: their disk may come back.

        Raises:
            UserError: The index cannot be read.
        """
        return (self._known() or self._measure()).calibration

    @property
    def is_calibrated(self) -> bool:
        """Whether `calibration` is known and takes no time."""
        return self._known() is not None

    def _known(self) -> Measured | None:
        """Return what this process, or else another, has measured, if it is still true."""
        count = len(self)
        if self._measured is None or not self._measured.is_current(count, self._how) or _any_exists(self._away):
            kept = read_measured(self.store.uri)
            if kept is None or not kept.is_current(count, self._how):
                return None
            self._measured, self._away = kept, ()
        return self._measured

    def _measure(self) -> Measured:
        count, rows = len(self), PresentRows(self.store)
        found = Calibration(None, None)
        if count:
            found = calibrate(lambda text: probe(rows, self.model, text, self.usual_rerank), demo=self.is_demo)
        measured = Measured(found, count, self._how)
        self._measured, self._away, self.unkept = measured, (), ""
        there = self._present if rows.gone else count
        if has_changed(there, count):
            self._away = tuple(sorted(rows.gone)[:: 1 + len(rows.gone) // LOOKED_FOR])
            self.unkept = f"the files of {count - there} of its {count} rows are not there"
        elif count:
            try:
                write_measured(self.store.uri, measured)
            except UserError as error:  # an index that is only to be read, or another process keeps it
                self.unkept = str(error)
        return measured

    @property
    def _present(self) -> int:
        """Number of rows whose files are there."""
        return sum(facts.windows for path, facts in self.library.videos.items() if Path(path).exists())

    @functools.cached_property
    def _how(self) -> str:
        return sentences_id(self.is_demo, self.usual_rerank)

    @property
    def usual_rerank(self) -> int:
        """Candidates of a sentence that the head rescores where nothing else is asked for; 0 if it cannot."""
        return RERANK if self.model.reranks else 0

    def __len__(self) -> int:
        """Return the number of windows in the index."""
        return len(self.store)

    def prune(self) -> int:
        """Delete the rows of all files that are no longer at their paths; return the number of these files."""
        return prune(self.store)

    def add(
        self,
        videos: Place | Sequence[Place],
        progress: bool = False,
        workers: int = 1,
        ready: Callable[[Path], bool] | None = None,
    ) -> Added:
        """Bring files and folders up to date, see `adding.add_videos`.

        Args:
            videos: Files and folders.
            progress: Show progress on stderr.
            workers: Processes that share the work. Each opens the model; this process does not where there are several.
            ready: ready(file) returns whether a new or changed file may be read already, by default always.

        Raises:
            UserError: A place does not exist, the index cannot be written, or `workers` is below 1.
        """
        if workers < 1:
            raise UserError(f"workers={workers}: give 1 or more")
        places = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
        how = How(progress, workers, self._checkpoint, ready)
        return add_videos(self.store, lambda: self.model, [Path(place) for place in places], how)

    def add_files(self, files: Iterable[Place]) -> Added:
        """Index files that are known by name, for a program that divides them among workers itself.

        Unlike `add`, it looks at nothing but these files: moved and deleted ones are left to `add`.

        Args:
            files: The files; those that are indexed as they are now are passed over.

        Raises:
            UserError: The index cannot be written.
        """
        return add_files(self.store, lambda: self.model, [Path(file) for file in files])

    def query(
        self,
        text: str | None = None,
        *,
        video: Place | None = None,
        image: Place | None = None,
        top: int = 10,
        rerank: int = 0,
        merge: bool = True,
        where: Filter | None = None,
    ) -> list[Moment]:
        """Find the best moments for one sentence, video or picture, best first, of files that are there.

        Args:
            text: A sentence.
            video: A video file.
            image: An image file.
            top: Most moments to return.
            rerank: Number of the nearest windows that the model's head rescores, for a sentence only.
            merge: Cut windows to the frames that count, and return one moment for those that overlap. Without, results
                are whole windows as they are stored, which overlap.
            where: Videos to which the query is restricted.

        Raises:
            UserError: Not exactly one query is given, or it cannot be read.
        """
        query = self.encode(text, video, image)
        return self.find(query, top=top, rerank=rerank, merge=merge, where=where)

    def encode(self, text: str | None = None, video: Place | None = None, image: Place | None = None) -> Query:
        """Encode one sentence, video or picture as a query.

        Raises:
            UserError: Not exactly one query is given, or it cannot be read.
        """
        if (text is not None) + (video is not None) + (image is not None) != 1:
            raise UserError("give one query: a sentence, a video or a picture")
        if text is not None:
            return text_query(self.model, text)
        if video is not None:
            return video_query(self.model, Path(video))
        return image_query(self.model, Path(image))  # type: ignore[arg-type]

    def like(self, identifier: str) -> Query | None:
        """Return the query for what one of the index's own windows shows; None if there is no such window."""
        vector = self.store.vector(identifier)
        return None if vector is None else Query(vector)

    def find(
        self, query: Query, *, top: int = 10, rerank: int = 0, merge: bool = True, where: Filter | None = None
    ) -> list[Moment]:
        """Find the best moments for an encoded query; arguments as of `query`."""
        rows = PresentRows(self.store, where.condition(self.library) if where is not None else None)
        moments = find(rows, self.model, query, top=top, rerank=rerank, merge=merge)
        self.gone |= rows.gone
        return moments


def _any_exists(paths: Iterable[str]) -> bool:
    return any(Path(path).exists() for path in paths)
