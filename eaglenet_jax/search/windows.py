"""Windows of a video: the intervals that are indexed and found, cut in one pass over its pictures."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np

from eaglenet_jax.errors import UserError

Item = TypeVar("Item")
# Between two sampled pictures whose colour histograms overlap by less than this (between 0 and 1) there is a cut.
SHOT_OVERLAP = 0.5
HISTOGRAM_BINS = 8  # per colour channel


@dataclasses.dataclass(frozen=True)
class WindowRule:
    """Rule by which videos are cut into windows.

    Attributes:
        seconds: Length of a window.
        overlap: Seconds that a window shares with the previous one.
        shots: Also end a window at the end of a shot.

    Raises:
        UserError: The lengths are impossible.
    """

    seconds: float = 12.0
    overlap: float = 4.0
    shots: bool = False

    def __post_init__(self) -> None:
        """Raise UserError for lengths with which cutting would never reach the end of a video."""
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
        """Number of windows that overlap a window, itself included."""
        return 2 * math.ceil(self.seconds / self.step) - 1


@dataclasses.dataclass(frozen=True)
class Window(Generic[Item]):
    """An interval of a video.

    Attributes:
        start: Seconds.
        end: Seconds.
        times: Seconds at which its sampled pictures are shown.
        items: The sampled pictures.
    """

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
    """Generate windows in order, each as soon as its last picture was read; at most one window's pictures are kept.

    Within a shot, window k covers [start + k · step, … + seconds), `start` being the shot's first picture (0 for the
    first shot). The last one ends with the shot, and is left out if the previous one has all of its pictures. An
    interval without pictures gives no window.

    Args:
        timed: (seconds, item) in the order of time.
        rule: Lengths of windows.
        length: length() returns the seconds of the video; called when `timed` has ended.
        is_cut: is_cut(before, after) returns whether a shot ends between two consecutive items.
    """
    shot: _Shot[Item] | None = None
    last: Item | None = None
    for time, item in timed:
        if shot is None:
            shot = _Shot(0.0, rule)
        elif is_cut(last, item):  # type: ignore[arg-type]  # not None, since there is a shot
            yield from shot.rest(time)
            shot = _Shot(time, rule)
        yield from shot.until(time)
        shot.kept.append((time, item))
        last = item
    if shot is not None:
        yield from shot.rest(length())


class _Shot(Generic[Item]):
    """The windows of one shot; `kept` are the pictures that the next windows may need."""

    def __init__(self, start: float, rule: WindowRule) -> None:
        self.kept: deque[tuple[float, Item]] = deque()
        self._first, self._rule = start, rule
        self._number = 0
        self._covered = -math.inf  # pictures before this time are in a window already

    @property
    def _start(self) -> float:
        return self._first + self._number * self._rule.step

    def until(self, time: float) -> Iterator[Window[Item]]:
        """Generate the windows that end before `time`, the time of the next picture."""
        while time >= self._start + self._rule.seconds:
            yield from self._window(self._start + self._rule.seconds)
            self._number += 1
            while self.kept and self.kept[0][0] < self._start:
                self.kept.popleft()
            if not self.kept:
                # Skip a gap at once: a damaged file may state that its next picture is shown in a million years.
                ended = int((time - self._first - self._rule.seconds) // self._rule.step)
                self._number = max(self._number, ended)

    def rest(self, end: float) -> Iterator[Window[Item]]:
        """Generate the last window of a shot that ends at `end`."""
        yield from self._window(min(end, self._start + self._rule.seconds))

    def _window(self, end: float) -> Iterator[Window[Item]]:
        if self.kept and self.kept[-1][0] >= self._covered:
            times, items = zip(*self.kept, strict=True)
            yield Window(self._start, max(end, times[-1]), times, items)
            self._covered = self._start + self._rule.seconds


def is_shot_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether two pictures, [H, W, 3] uint8, belong to different shots: their colour histograms overlap little.

    For pictures about a second apart, so fast motion of large things can look like a cut, and a dissolve may be missed.
    """
    shared = np.minimum(_colours(before), _colours(after)).sum()
    return bool(shared < SHOT_OVERLAP)


def _colours(picture: np.ndarray) -> np.ndarray:
    """Return the shares of the pixels by colour, [bins³], which sum to 1."""
    levels = picture.reshape(-1, 3).astype(np.int64) * HISTOGRAM_BINS // 256
    code = (levels[:, 0] * HISTOGRAM_BINS + levels[:, 1]) * HISTOGRAM_BINS + levels[:, 2]
    return np.bincount(code, minlength=HISTOGRAM_BINS**3) / len(code)
