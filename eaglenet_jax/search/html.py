"""HTML of moments without a server: a page of one file, and cards for notebooks, by the templates of the page."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.search.confidence import WEAK, negation
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.page.rendering import clock, data_url, heaviest, render, style
from eaglenet_jax.search.playing import picture_of, plays_in_browsers, strip_of

__all__ = ["STYLE", "Found", "cards", "clock", "results_page"]

STYLE = style()
STILL = "Browsers do not play this file; these are its frames."
GONE = "The file is not there any more."


@dataclasses.dataclass(frozen=True)
class Found:
    """A query and its moments.

    Attributes:
        query: The sentence, or the file that was searched for.
        moments: Best first.
        right: File that is known to be right, where one is.
        of_file: Whether the query is a file.
    """

    query: str
    moments: Sequence[Moment]
    right: str | None = None
    of_file: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether nothing fits the query."""
        return bool(self.moments) and all(moment.confidence == WEAK for moment in self.moments)

    @property
    def negation(self) -> str | None:
        """First negative word of a sentence; None for a file, whatever its name."""
        return None if self.of_file else negation(self.query)

    @property
    def cards(self) -> list[Card]:
        """Its moments as they are shown."""
        return [_card(moment, _file_url(moment), self.right) for moment in self.moments]


@dataclasses.dataclass(frozen=True)
class Card:
    """A moment as it is shown.

    Attributes:
        moment: The moment.
        poster: URL of its picture.
        url: URL of its video; empty if browsers do not play it.
        strip: URL of its frames, if they are shown.
        still: Why there is no video.
        right: Whether the moment is known to be right.
    """

    moment: Moment
    poster: str
    url: str
    strip: str | None
    still: str
    right: bool


def results_page(answers: Sequence[Found], is_demo: bool = False) -> str:
    """Return a page of queries and their moments, complete in one file.

    Pictures are embedded; players read the videos from their files.

    Args:
        answers: The queries.
        is_demo: Whether the model knows MovingShapes alone, of which the page warns.
    """
    title = ", ".join(found.query for found in answers)
    values = {"title": title, "queries": answers, "is_demo": is_demo, "style": Markup(STYLE)}
    return render("static.html", values)


def cards(moments: Sequence[Moment], video_url: Callable[[Moment], str] | None = None) -> str:
    """Return a list of moments as HTML, for a page with `STYLE`.

    Args:
        moments: Moments, best first.
        video_url: URL of a moment's video, with the interval to play (#t=start,end); empty for none. By default that
            of the file.
    """
    return render(
        "cards.html", {"cards": [_card(moment, (video_url or _file_url)(moment), None) for moment in moments]}
    )


def _card(moment: Moment, url: str, right: str | None) -> Card:
    strip = _strip(moment) if moment.weights or not url else None
    there = Path(moment.path).is_file()
    return Card(
        moment,
        _poster(moment),
        url,
        strip,
        STILL if there else GONE,
        right is not None and Path(moment.path) == Path(right),
    )


def _file_url(moment: Moment) -> str:
    if not plays_in_browsers(moment.path):
        return ""
    return f"{Path(moment.path).as_uri()}#t={moment.start:.2f},{moment.end:.2f}"


def _poster(moment: Moment) -> str:
    """Return the picture that counted most, the stored thumbnail where that is not known."""
    if moment.weights:
        with contextlib.suppress(DecodeError):
            return data_url("image/webp", picture_of(moment.path, moment.times[heaviest(moment)]))
    return data_url("image/jpeg", moment.thumbnail)


def _strip(moment: Moment) -> str | None:
    try:
        return data_url("image/webp", strip_of(moment.path, moment.times)) if moment.times else None
    except DecodeError:
        return None
