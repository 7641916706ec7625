"""Answers for the page: results grouped by video, kept for the addresses that were asked last."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.confidence import POSSIBLE, STRONG, Calibration, negation
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.levels import has_changed
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.page.asked import DEPTHS, Asked
from eaglenet_jax.search.query import Query

MOST_MOMENTS = 120  # of an answer, over all its pages
VIDEOS_A_PAGE = 24
KEPT_ANSWERS = 64
KEPT_FILES = 32  # uploaded queries
AGAIN_SECONDS = 60.0  # after which a measurement that found nothing is repeated

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FoundVideo:
    """A video of an answer.

    Attributes:
        path: Its file.
        best: Its best moment.
        moments: All its moments, in the order of time.
        seconds: Its length.
    """

    path: str
    best: Moment
    moments: tuple[Moment, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class GivenFile:
    """An uploaded query.

    Attributes:
        name: Of the file.
        query: What was encoded of it.
    """

    name: str
    query: Query


@dataclasses.dataclass(frozen=True)
class Answer:
    """Result of a search.

    Attributes:
        videos: Best first.
        moments: Best first.
        seconds: Time that it took.
        notes: What the user should know about the query, most important first.
        measured: Whether the words of confidence are known.
        measuring: Whether they are not, but soon will be.
        given: The uploaded query; None for another kind.
    """

    videos: tuple[FoundVideo, ...] = ()
    moments: tuple[Moment, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    measured: bool = True
    measuring: bool = False
    given: GivenFile | None = None

    @property
    def good(self) -> tuple[FoundVideo, ...]:
        """Videos whose best moment is not weak."""
        return tuple(video for video in self.videos if video.best.confidence in (None, STRONG, POSSIBLE))

    @property
    def pages(self) -> int:
        """Number of pages."""
        return max(1, -(-len(self.videos) // VIDEOS_A_PAGE))

    def on_page(self, number: int) -> tuple[FoundVideo, ...]:
        """Return the videos of a page, from 1."""
        return self.videos[(number - 1) * VIDEOS_A_PAGE : number * VIDEOS_A_PAGE]


class Answers:
    """An index with the state that a server keeps: what it is waiting for, last answers, uploaded queries."""

    def __init__(self, index: SearchIndex) -> None:
        self.index = index
        self.waiting: str | None = "loading the model"
        """State that the first query waits for; None once queries are answered."""
        self.ready = threading.Event()
        """Set when queries are answered, or when it is known that they never will be."""
        self.calibration: Calibration | None = None
        """Levels of the scores, once they are known, see `measure_again`."""
        self.failed: UserError | None = None
        """Error because of which queries will never be answered; None if they will."""
        self._measurements = 0  # that are over
        self._vain: tuple[int, float] | None = None  # rows and time of the last, if it failed or found no file
        self._measuring = True  # as soon as the model is there
        self._kept: OrderedDict[tuple[Asked, int, int], Answer] = OrderedDict()
        self._files: OrderedDict[str, GivenFile] = OrderedDict()
        self._lock = threading.Lock()

    def get_ready(self) -> None:
        """Load the model, compile, and measure what scores mean; for a thread of its own."""
        try:
            model = self.index.model
            self.waiting = "compiling the model"
            if len(self.index):
                self.index.query("a", top=1, rerank=int(model.reranks))
            self.waiting = None
        except UserError as error:
            self.failed, self.waiting = error, str(error)
        except Exception as error:
            # Whatever it is, a thread that ends unexpectedly would leave every visitor waiting.
            self.failed = UserError(f"{self.waiting} failed: {type(error).__name__}: {' '.join(str(error).split())}")
            self.failed.__cause__, self.waiting = error, str(self.failed)
        self.ready.set()
        if self.failed is None:
            self._measure()

    @property
    def measured(self) -> bool:
        """Whether the words of confidence are known; never for an index without videos that are there."""
        return self.calibration is not None and self.calibration.is_measured

    @property
    def measuring(self) -> bool:
        """Whether they are not, but soon will be."""
        return self._measuring and not (self.measured or self.failed)

    def measure_again(self) -> None:
        """Start a measurement if the last one is not true any more; answers have the old words until it is done.

        That is so if the index has grown or shrunk by a fifth, or if files were missing that are there again. One that
        failed, or found no file, is repeated after such a change or after `AGAIN_SECONDS`.
        """
        if self._measuring:
            return
        try:
            if self.index.is_calibrated:
                known = self.index.calibration  # which another process may have measured
                if known != self.calibration:
                    self._take(known)
                return
            if self._vain is not None:
                rows, since = self._vain
                if not has_changed(len(self.index), rows) and time.monotonic() - since < AGAIN_SECONDS:
                    return
        except UserError:
            return  # queries are answered all the same, or say what is wrong with the index
        except Exception:
            _log.exception("whether the index has changed could not be found out")
            return
        with self._lock:  # of several visitors, one starts it
            first, self._measuring = not self._measuring, True
        if first:
            threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        rows, found, self._vain = 0, self.calibration, None
        try:
            rows = len(self.index)
            found = self.index.calibration
            if rows and not found.is_measured:
                self._vain = rows, time.monotonic()
        except Exception:
            # Queries are answered all the same.
            _log.exception("what scores mean on this index could not be measured")
            self._vain = rows, time.monotonic()
        self._take(found)

    def _take(self, found: Calibration | None) -> None:
        with self._lock:
            self.calibration, self._measuring = found, False
            self._measurements += 1  # last: an answer that is kept under this number has the new words

    @property
    def examples(self) -> tuple[str, ...]:
        """Sentences that fit the index, as soon as they are known."""
        return self.calibration.examples if self.calibration is not None else ()

    def keep(self, name: str, query: Query) -> str:
        """Keep an uploaded query for a while and return its id."""
        identifier = secrets.token_urlsafe(9)
        with self._lock:
            self._files[identifier] = GivenFile(name, query)
            while len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)
        return identifier

    def file(self, identifier: str) -> GivenFile:
        """Return an uploaded query.

        Raises:
            UserError: It is not kept any more.
        """
        with self._lock:
            found = self._files.get(identifier)
        if found is None:
            raise UserError("that picture or clip is not kept any more; give it again")
        return found

    def answer(self, asked: Asked) -> Answer:
        """Return the answer to a search, all pages of it.

        Raises:
            UserError: It cannot be answered.
        """
        self.measure_again()
        key = dataclasses.replace(asked, page=1, moment=""), self.index.store.version, self._measurements
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = self._find(asked)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT_ANSWERS:
                self._kept.popitem(last=False)
        return found

    def _find(self, asked: Asked) -> Answer:
        started, index, notes = time.perf_counter(), self.index, []
        rerank, given = 0, None
        if asked.text:
            query, rerank = index.encode(asked.text), DEPTHS[asked.depth] if index.model.reranks else 0
            if word := negation(asked.text):
                notes.append(f"“{word}” is not understood: results may show just what it excludes.")
            if cut := index.model.words_cut(asked.text):
                notes.append(f"The last {cut} tokens are not read: the query is longer than the model reads.")
        elif asked.like:
            like = index.like(asked.like)
            if like is None:
                raise UserError("the index has no such moment any more; search again")
            query = like
        else:
            given = self.file(asked.file)
            query = given.query
        moments = index.find(query, top=MOST_MOMENTS, rerank=rerank, where=asked.filter)
        measuring = self.measuring  # before what it makes: if it ends in between, the words are there
        calibration = self.calibration
        if asked.text and calibration is not None:
            moments = calibration.judged(moments)
        if asked.like:
            others = [moment for moment in moments if moment.id != asked.like]
            moments = [dataclasses.replace(moment, rank=rank) for rank, moment in enumerate(others, start=1)]
        return Answer(
            self._by_video(moments),
            tuple(moments),
            time.perf_counter() - started,
            tuple(notes),
            measured=not asked.text or (calibration is not None and calibration.is_measured),
            measuring=measuring,
            given=given,
        )

    def _by_video(self, moments: Sequence[Moment]) -> tuple[FoundVideo, ...]:
        groups: dict[str, list[Moment]] = {}
        for moment in moments:
            groups.setdefault(moment.path, []).append(moment)
        known = self.index.library.videos
        return tuple(
            FoundVideo(
                path,
                several[0],
                tuple(sorted(several, key=lambda moment: moment.start)),
                max(known[path].seconds if path in known else 0.0, *(moment.end for moment in several), 0.001),
            )
            for path, several in groups.items()
        )
