"""Addresses of the page: start, results and player, and upload of a picture or clip as the query."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from eaglenet_jax.data.video_files import SUFFIXES
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.confidence import DEMO_EXAMPLES
from eaglenet_jax.search.library import Filter
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.page.answers import Answer, Answers, FoundVideo
from eaglenet_jax.search.page.asked import Asked, read_asked
from eaglenet_jax.search.page.media import source_of
from eaglenet_jax.search.page.rendering import data_url, render
from eaglenet_jax.search.rows import StoredWindow
from eaglenet_jax.wording import counted

DEPTH_NAMES = (("fast", "fast"), ("normal", "normal"), ("thorough", "thorough, slower"))
PLACEHOLDER = "a dog runs up the stairs"
ON_SHELF = 12  # videos on the first page
READY_SECONDS = 300.0  # that an upload waits for the model
WEAK_HEADING = "Weak matches: random sentences score as high"


class Views:
    """Routes of the page."""

    def __init__(self, answers: Answers, version: str) -> None:
        self._answers, self._index, self._version = answers, answers.index, version
        self.routes = [Route("/", self.page), Route("/upload", self.upload, methods=["POST"])]

    def page(self, request: Request) -> Response:
        """Show the start, the results of a search, or (part=player) the player alone."""
        asked, answer, trouble, player = Asked(), None, None, None
        waiting = None
        try:
            asked = read_asked(request.query_params)
            if asked.is_empty:
                self._answers.measure_again()
            else:
                waiting = self._answers.waiting
                answer = self._answers.answer(asked) if waiting is None else None
                if answer is not None:  # the last page may be another than when the address was made
                    asked = dataclasses.replace(asked, page=min(asked.page, answer.pages))
            if asked.moment and waiting is None:
                player = self._player(asked, answer or Answer())
        except UserError as error:
            trouble, answer = str(error), None
        if request.query_params.get("part") == "player":
            return HTMLResponse(player or trouble or "", 200 if player else 404)
        values = self._values(asked, answer) | {"trouble": trouble, "waiting": waiting, "player": player}
        return HTMLResponse(render("page.html", values), 422 if trouble else 200, {"Cache-Control": "no-cache"})

    def _values(self, asked: Asked, answer: Answer | None) -> dict[str, Any]:
        """Return what the template shows besides the player and trouble."""
        library, settings = self._index.library, self._index.store.settings
        about, picture = None, ""
        if asked.like:
            about, picture = "Moments that look like the one you chose", f"/thumbs/{asked.like}.webp"
        elif answer is not None and answer.given is not None:
            about = f"Moments that look like {answer.given.name}"
            picture = data_url("image/webp", answer.given.query.picture)
        sections: list[tuple[str | None, Sequence[FoundVideo]]] = []
        if answer is not None:
            here, good = answer.on_page(asked.page), answer.good
            strong = [video for video in here if video in good]
            weak = [video for video in here if video not in good]
            sections = [(None, strong), (WEAK_HEADING if good else None, weak)]
        examples = self._answers.examples
        first = DEMO_EXAMPLES[0] if self._index.is_demo else PLACEHOLDER
        return {
            "asked": asked,
            "answer": answer,
            "about": about,
            "picture": picture,
            "summary": None if answer is None else _summary(answer, asked),
            "sections": [section for section in sections if section[1]],
            "narrowed": asked.filter != Filter() or asked.depth != "normal",
            "title": f"{asked.text or about or 'Search your videos'}",
            # An example in the box of results would look like the sentence that was searched for.
            "placeholder": (*examples, first)[0] if asked.is_empty else "Describe a scene",
            "examples": examples,
            "measuring": self._answers.measuring,
            "measured": self._answers.measured,
            "facts": library.facts(datetime.date.today()),
            "library": library,
            "folders": library.folders,
            "depths": DEPTH_NAMES,
            # Before the model is loaded it is not known; a head that cannot rescore ignores the choice.
            "reranks": self._answers.waiting is not None or self._index.model.reranks,
            "shelf": self._shelf() if asked.is_empty else [],
            "is_demo": self._index.is_demo,
            "version": self._version,
            "model": settings.model_id,
        }

    def _shelf(self) -> list[tuple[Moment, float]]:
        """Return some of the videos, spread over the whole index."""
        videos = sorted(self._index.library.videos.items())
        chosen = videos[:: max(1, len(videos) // ON_SHELF)][:ON_SHELF]
        return [
            (Moment(0, 0.0, False, facts.id, path, 0.0, facts.seconds, b""), facts.seconds)
            for path, facts in chosen
            if Path(path).is_file()
        ]

    def _player(self, asked: Asked, answer: Answer) -> Markup:
        """Return the content of the player.

        Raises:
            UserError: There is no such moment.
        """
        found = next((moment for moment in answer.moments if moment.id == asked.moment), None)
        if found is None:
            row = self._index.store.window(asked.moment)
            if row is None or not Path(row.path).is_file():
                raise UserError("the index has no such moment any more, or its file is gone")
            found = _whole(row)
        order = [moment for video in answer.videos for moment in video.moments]
        here = next((number for number, moment in enumerate(order) if moment.id == found.id), None)
        seconds = self._index.library.videos[found.path].seconds if found.path in self._index.library.videos else 0.0
        alone = FoundVideo(found.path, found, (found,), max(seconds, found.end))
        neighbours = {"previous": None if not here else order[here - 1].id, "next": None}
        if here is not None and here + 1 < len(order):
            neighbours["next"] = order[here + 1].id
        content = render(
            "player.html",
            {
                "moment": found,
                "video": next(
                    (video for video in answer.videos if video.path == found.path and here is not None), alone
                ),
                "source": source_of(found),
                "close": asked.address(moment=""),
                "link": asked.address(),
                "like": Asked(like=found.id).address(),
                **{name: None if other is None else asked.address(moment=other) for name, other in neighbours.items()},
            },
        )
        return Markup(content)

    async def upload(self, request: Request) -> Response:
        """Take a picture or clip as the query and lead to its results."""
        async with request.form(max_files=1, max_fields=4) as form:
            given = form.get("file")
            if not isinstance(given, UploadFile) or not given.filename:
                return RedirectResponse("/", 303)
            try:
                identifier = await run_in_threadpool(self._encoded, given)
            except UserError as error:
                return await run_in_threadpool(self._refused, str(error))
        return RedirectResponse(Asked(file=identifier).address(), 303)

    def _refused(self, trouble: str) -> Response:
        values = self._values(Asked(), None) | {"trouble": trouble, "waiting": None, "player": None}
        return HTMLResponse(render("page.html", values), 422)

    def _encoded(self, given: UploadFile) -> str:
        if not self._answers.ready.wait(READY_SECONDS) or self._answers.failed:
            raise UserError(f"not ready: {self._answers.waiting}")
        name = Path(given.filename or "").name
        suffix = Path(name).suffix.lower()
        kind = (given.content_type or "").partition("/")[0]
        is_video = kind == "video" or (kind != "image" and suffix[1:] in SUFFIXES)
        # Decoders look at the suffix; nothing else of the name is used.
        with tempfile.NamedTemporaryFile(suffix=suffix if suffix[1:] in SUFFIXES else "") as file:
            while piece := given.file.read(1 << 20):
                file.write(piece)
            file.flush()
            try:
                query = self._index.encode(**{"video" if is_video else "image": file.name})
            except UserError as error:
                raise UserError(str(error).replace(file.name, name)) from error
        return self._answers.keep(name, query)


def _whole(row: StoredWindow) -> Moment:
    """Return a row as a moment that nothing is known about."""
    return Moment(0, 0.0, False, row.id, row.path, row.start, row.end, row.thumbnail, row.times)


def _summary(answer: Answer, asked: Asked) -> str:
    """Return the line above the results."""
    good, count = len(answer.good), len(answer.videos)
    said = f"{counted(count, 'video')}, nearest first"
    if count and not answer.measured:
        unknown = "will be known in some seconds" if answer.measuring else "could not be measured"
        said += f"; how sure this is {unknown}"
    elif asked.text and good:
        said = f"{counted(good, 'video')} that may show it"
    if asked.page > 1:
        said += f"; page {asked.page}"
    return f"{said} ({answer.seconds:.2f} s)"
