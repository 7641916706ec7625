"""Videos and pictures of the index, by the ids of its rows, and no other file."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.data.video_files import SUFFIXES
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.playing import copy_of_moment, picture_of, plays_in_browsers, strip_of
from eaglenet_jax.search.previews import as_webp, strip_of_previews
from eaglenet_jax.search.rows import StoredWindow
from eaglenet_jax.search.store import Store

# An id changes with the content of its file, so what is served under it stays as it is.
KEPT = {"Cache-Control": "private, max-age=604800, immutable"}


@dataclasses.dataclass(frozen=True)
class Source:
    """File, or copy, that a player plays for a moment.

    Attributes:
        url: Of the video.
        page: To open it alone, at the moment's start.
        start: Where the moment starts in it, seconds.
        end: Where it ends in it, seconds.
        offset: Seconds of the file at which it begins.
        copied: Whether it is a copy.
    """

    url: str
    page: str
    start: float
    end: float
    offset: float
    copied: bool


def source_of(moment: Moment) -> Source:
    """Return what to play of a moment: its file where browsers play that, else a copy of the moment."""
    if plays_in_browsers(moment.path):
        url = f"/media/{moment.id}"
        return Source(url, f"{url}#t={moment.start:.2f},{moment.end:.2f}", moment.start, moment.end, 0.0, False)
    fields = urlencode({"start": f"{moment.start:.2f}", "end": f"{moment.end:.2f}"})
    url = f"/moments/{moment.id}?{fields}"
    return Source(url, url, 0.0, moment.end - moment.start, moment.start, True)


class Media:
    """Routes of videos and pictures.

    /media/ID is the video of a row of the index; /moments/ID?start=…&end=… a copy of its interval, for formats that
    browsers do not play; /thumbs/ID.webp its thumbnail; /frames/ID/N.webp the picture of its frame N; /strips/ID.webp
    those of all its frames, side by side.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.routes = [
            Route("/media/{id}", self.media),
            Route("/moments/{id}", self.moment),
            Route("/thumbs/{id}.webp", self.thumbnail),
            Route("/frames/{id}/{number:int}.webp", self.frame),
            Route("/strips/{id}.webp", self.strip),
        ]

    def row(self, request: Request, previews: bool = False) -> StoredWindow:
        """Return the row that a request names.

        Args:
            request: With the row's id in its path.
            previews: Read its previews too.

        Raises:
            HTTPException: There is none, or its file is gone or another one.
        """
        window = self._store.window(request.path_params["id"], previews)
        if window is None or not _is_the_indexed_file(window):
            raise HTTPException(404, "the index has no such moment, or its file is gone or another one")
        return window

    def media(self, request: Request) -> Response:
        """Serve a video."""
        path = Path(self.row(request).path)
        if path.suffix[1:].lower() not in SUFFIXES:
            raise HTTPException(404, "the moment's file does not go by a name of videos")
        return FileResponse(path)

    def moment(self, request: Request) -> Response:
        """Serve a copy of an interval."""
        window = self.row(request)
        limits = [_seconds(request.query_params.get(name)) for name in ("start", "end")]
        start, end = _stretch(window, limits[0], limits[1], self._store.settings.rule.seconds)
        try:
            return Response(copy_of_moment(window.path, start, end), media_type="video/mp4")
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error

    def thumbnail(self, request: Request) -> Response:
        """Serve the stored thumbnail, smaller."""
        with Image.open(io.BytesIO(self.row(request).thumbnail)) as stored:
            return _picture(as_webp(stored.convert("RGB")))

    def frame(self, request: Request) -> Response:
        """Serve the picture of a frame."""
        window, number = self.row(request, previews=True), request.path_params["number"]
        if number >= len(window.times):
            raise HTTPException(404, "the moment has no such frame")
        if window.previews:  # which an index of an earlier version does not have
            return _picture(window.previews[number])
        try:
            return _picture(picture_of(window.path, window.times[number]))
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error

    def strip(self, request: Request) -> Response:
        """Serve the frames of a row."""
        window = self.row(request, previews=True)
        if window.previews:
            return _picture(strip_of_previews(window.previews))
        try:
            return _picture(strip_of(window.path, window.times))
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error


def _picture(content: bytes) -> Response:
    return Response(content, media_type="image/webp", headers=KEPT)


def _is_the_indexed_file(window: StoredWindow) -> bool:
    """Return whether the file of a row exists with the size that it had when it was indexed."""
    path = Path(window.path)
    try:
        return path.is_file() and window.file is not None and path.stat().st_size == window.file.size
    except OSError:
        return False


def _seconds(given: str | None) -> float | None:
    try:
        return None if given is None else float(given)
    except ValueError as error:
        raise HTTPException(422, f"{given} is no number of seconds") from error


def _stretch(window: StoredWindow, start: float | None, end: float | None, seconds: float) -> tuple[float, float]:
    """Return the interval to show of a moment: as requested, within reach of a merged moment.

    A merged moment reaches at most a window's length further than its best window on both sides.
    """
    if start is None or end is None or not (math.isfinite(start) and math.isfinite(end)):
        return window.start, window.end
    first, last = max(0.0, window.start - seconds), window.end + seconds
    return min(max(start, first), last), min(max(end, first), last)
