"""Reading the windows of many files, decoded in threads ahead of the encoder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from eaglenet_jax.data.video_source import DecodeError
from eaglenet_jax.search.files import file_state
from eaglenet_jax.search.model import SearchModel
from eaglenet_jax.search.rows import FileState, StoredWindow, window_id
from eaglenet_jax.search.video_reader import Picture, VideoReader, as_jpeg, as_picture
from eaglenet_jax.search.windows import Window, WindowRule, cut_windows, is_shot_cut


@dataclasses.dataclass(frozen=True)
class ReadWindow:
    """A window of a file, ready to be encoded.

    Attributes:
        file: The file.
        window: Its row, without features.
        frames: [M, size, size, 3] uint8, of which the first `count` are real.
        count: Number of real frames.
        share: Part of the file up to the end of this window, between 0 and 1; 0 where its length is not known.
        seconds: Seconds of video that no window before it has.
    """

    file: Path
    window: StoredWindow
    frames: np.ndarray
    count: int
    share: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class FileEnd:
    """End of the windows of a file.

    Attributes:
        file: The file.
        windows: Number of its windows.
        reason: Why it has no windows.
        warning: What is wrong with it otherwise.
    """

    file: Path
    windows: int = 0
    reason: str | None = None
    warning: str | None = None


def read_files(
    next_file: Callable[[], Path | None], model: SearchModel, rule: WindowRule, *, ahead: int, readers: int
) -> Generator[ReadWindow | FileEnd, None, None]:
    """Read the windows of files and the end of each, several files at a time, in any order between files.

    The threads end with the iterator.

    Args:
        next_file: Called from several threads; returns a file to read, None for no more.
        model: Model of the index.
        rule: How videos are cut.
        ahead: Most windows that wait to be taken.
        readers: Files that are read at once.

    Raises:
        Exception: Whatever `next_file` raises.
    """
    results: queue.Queue[ReadWindow | FileEnd | Exception | None] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(result: ReadWindow | FileEnd | Exception | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                return results.put(result, timeout=0.1)

    def work() -> None:
        while not stop.is_set():
            try:
                file = next_file()
            except Exception as error:  # in a thread; the reader of the results has to hear of it
                return put(error)
            if file is None:
                break
            for result in read_file(file, model, rule):
                if stop.is_set():
                    break
                put(result)
        put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, Exception):
                raise result
            else:
                yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def readers() -> int:
    """Return how many files are read at once where there are enough."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16)


def read_file(file: Path, model: SearchModel, rule: WindowRule) -> Iterator[ReadWindow | FileEnd]:
    """Read the windows of one file, then its end. Errors of the file are reported in its end, never raised."""
    windows = 0
    try:
        state = file_state(file)
        with VideoReader(file) as video:
            pictures = ((time, as_picture(whole, model.size)) for time, whole in video.sampled(model.fps))
            cut = (lambda before, after: is_shot_cut(before.pixels, after.pixels)) if rule.shots else _never
            reached = 0.0
            for window in cut_windows(pictures, rule, lambda: video.length, cut):
                windows += 1
                yield _ready(file, state, window, model, (video.announced, reached))
                reached = max(reached, window.end)
            warning = video.trouble()
        yield FileEnd(file, windows, warning=warning)
    except OSError as error:
        yield FileEnd(file, windows, reason=error.strerror or str(error))
    except DecodeError as error:
        yield FileEnd(file, windows, reason=str(error))
    except Exception as error:  # libraries raise many types on damaged files, which must not stop the others
        yield FileEnd(file, windows, reason=f"{type(error).__name__}: {error}")


def _never(before: Picture, after: Picture) -> bool:
    return False


def _ready(
    file: Path, state: FileState, window: Window[Picture], model: SearchModel, clock: tuple[float, float]
) -> ReadWindow:
    """Prepare a window. clock: seconds of the file as it announces, and up to which earlier windows reach."""
    announced, reached = clock
    frames, picked = model.window_frames([picture.pixels for picture in window.items])
    row = StoredWindow(
        window_id(str(file), state.hash, window.start),
        str(file),
        window.start,
        window.end,
        tuple(window.times[position] for position in picked),
        as_jpeg(window.items[len(window.items) // 2].small),
        file=state,
        previews=tuple(window.items[position].preview for position in picked),
    )
    share = min(1.0, window.end / announced) if announced else 0.0
    return ReadWindow(file, row, frames, len(picked), share, max(0.0, window.end - reached))
