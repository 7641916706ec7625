"""Windows of a video: the stretches that are indexed and found, cut while its pictures pass by once."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np

from eaglenet_jax.errors import UserError

Item = TypeVar("Item")
# A cut is where the colours of two sampled pictures have less than this in common, a number between 0 and 1.
SHOT_OVERLAP = 0.5
HISTOGRAM_BINS = 8  # a colour channel


@dataclasses.dataclass(frozen=True)
class WindowRule:
    """How videos are cut. seconds: length of a window. overlap: seconds that it shares with the one before. shots: a
    window also ends where a shot does. UserError for lengths that cannot be.
    """

    seconds: float = 12.0
    overlap: float = 4.0
    shots: bool = False

    def __post_init__(self) -> None:
        """Refuse what would never get to the end of a video."""
        if not 0 < self.seconds < math.inf:
            raise UserError(f"windows of {self.seconds:g} s cannot be cut; give a length above zero")
        if not 0 <= self.overlap < self.seconds:
            raise UserError(
                f"windows of {self.seconds:g} s cannot overlap by {self.overlap:g} s; give 0 or more, less than the "
                "length"
            )

    @property
    def step(self) -> float:
        """Seconds between the starts of two windows."""
        return self.seconds - self.overlap

    @property
    def overlapping(self) -> int:
        """How many windows overlap one of them, itself included."""
        return 2 * math.ceil(self.seconds / self.step) - 1


@dataclasses.dataclass(frozen=True)
class Window(Generic[Item]):
    """A stretch of a video. start, end: seconds. times, items: its sampled pictures and when they are shown."""

    start: float
    end: float
    times: tuple[float, ...]
    items: tuple[Item, ...]


def cut_windows(
    timed: Iterable[tuple[float, Item]],
    rule: WindowRule,
    length: Callable[[], float],
    is_cut: Callable[[Item, Item], bool] = lambda before, after: False,
) -> Iterator[Window[Item]]:
    """Windows in order, each as soon as its last picture has passed; at most one window's pictures are kept.

    timed: (seconds, item) in the order of time. length(): seconds of the video, asked for when `timed` has ended.
    is_cut(before, after): whether a shot ends between two items next to each other. Within a shot, window k covers
    [start + k · step, … + seconds), `start` being the shot's first picture (0 for the first shot). The last one ends
    with the shot, and is left out where the one before has all of its pictures. A stretch without pictures gives no
    window.
    """
    shot: _Shot[Item] | None = None
    last: Item | None = None
    for time, item in timed:
        if shot is None:
            shot = _Shot(0.0, rule)
        elif is_cut(last, item):  # type: ignore[arg-type]  # there is one before: there is a shot
            yield from shot.rest(time)
            shot = _Shot(time, rule)
        yield from shot.until(time)
        shot.kept.append((time, item))
        last = item
    if shot is not None:
        yield from shot.rest(length())


class _Shot(Generic[Item]):
    """The windows of one shot, `kept` being the pictures that the next ones may need."""

    def __init__(self, start: float, rule: WindowRule) -> None:
        self.kept: deque[tuple[float, Item]] = deque()
        self._first, self._rule = start, rule
        self._number = 0
        self._covered = -math.inf  # up to where pictures were in a window already

    @property
    def _start(self) -> float:
        return self._first + self._number * self._rule.step

    def until(self, time: float) -> Iterator[Window[Item]]:
        """The windows that end before `time`, when the next picture comes."""
        while time >= self._start + self._rule.seconds:
            yield from self._window(self._start + self._rule.seconds)
            self._number += 1
            while self.kept and self.kept[0][0] < self._start:
                self.kept.popleft()
            if not self.kept:
                # Over a gap at once: a damaged file may say that its next picture is shown in a million years.
                ended = int((time - self._first - self._rule.seconds) // self._rule.step)
                self._number = max(self._number, ended)

    def rest(self, end: float) -> Iterator[Window[Item]]:
        """The last window, of a shot that ends at `end`."""
        yield from self._window(min(end, self._start + self._rule.seconds))

    def _window(self, end: float) -> Iterator[Window[Item]]:
        if self.kept and self.kept[-1][0] >= self._covered:
            times, items = zip(*self.kept, strict=True)
            yield Window(self._start, max(end, times[-1]), times, items)
            self._covered = self._start + self._rule.seconds


def is_shot_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two pictures, [H, W, 3] uint8, belong to different shots: their colour histograms have little in common.

    Of pictures a second apart, so quick motion of large things can look like a cut, and a dissolve may be missed.
    """
    shared = np.minimum(_colours(before), _colours(after)).sum()
    return bool(shared < SHOT_OVERLAP)


def _colours(picture: np.ndarray) -> np.ndarray:
    """Shares of the pixels by colour, [bins³], which sum to 1."""
    levels = picture.reshape(-1, 3).astype(np.int64) * HISTOGRAM_BINS // 256
    code = (levels[:, 0] * HISTOGRAM_BINS + levels[:, 1]) * HISTOGRAM_BINS + levels[:, 2]
    return np.bincount(code, minlength=HISTOGRAM_BINS**3) / len(code)
