"""Address of a search: everything that a page shows is in its query string, and back."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import RERANK
from eaglenet_jax.search.library import Filter

# Candidates that the head rescores, by the name of the choice.
DEPTHS = {"fast": 0, "normal": RERANK, "thorough": 500}
NORMAL = "normal"
LONGEST_TEXT = 1000  # characters
MOST_PAGES = 1000


@dataclasses.dataclass(frozen=True)
class Asked:
    """A search.

    Attributes:
        text: The sentence; empty for none.
        like: Id of a window whose like is searched for.
        file: Id under which an uploaded picture or clip is kept.
        depth: One of DEPTHS.
        filter: Videos that are searched.
        page: Page of the results, from 1.
        moment: Id of the window that is open in the player.
    """

    text: str = ""
    like: str = ""
    file: str = ""
    depth: str = NORMAL
    filter: Filter = dataclasses.field(default_factory=Filter)
    page: int = 1
    moment: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is searched for."""
        return not (self.text or self.like or self.file)

    def address(self, **changes: object) -> str:
        """Return the address of this search with some fields changed, without what is as by default."""
        asked = dataclasses.replace(self, **changes)  # type: ignore[arg-type]
        limits = asked.filter
        fields = {
            "q": asked.text,
            "like": asked.like,
            "file": asked.file,
            "depth": "" if asked.depth == NORMAL else asked.depth,
            "folder": limits.folder,
            "min": "" if limits.shortest is None else f"{limits.shortest:g}",
            "max": "" if limits.longest is None else f"{limits.longest:g}",
            "from": limits.after or "",
            "to": limits.before or "",
            "page": "" if asked.page == 1 else asked.page,
            "m": asked.moment,
        }
        given = {name: value for name, value in fields.items() if value != ""}
        return f"/?{urlencode(given)}" if given else "/"


def read_asked(fields: Mapping[str, str]) -> Asked:
    """Read the fields of an address.

    Raises:
        UserError: One of them cannot be read.
    """
    text = " ".join(fields.get("q", "").split())
    if len(text) > LONGEST_TEXT:
        raise UserError(f"the query has {len(text)} characters; {LONGEST_TEXT} are the most")
    depth = fields.get("depth") or NORMAL
    if depth not in DEPTHS:
        raise UserError(f"depth={depth}: choose {', '.join(DEPTHS)}")
    given = _number(fields, "page")
    page = 1.0 if given is None else given
    if page != int(page) or not 1 <= page <= MOST_PAGES:
        raise UserError(f"page={page:g}: give 1 to {MOST_PAGES}")
    shown = Filter(
        fields.get("folder", ""),
        _number(fields, "min"),
        _number(fields, "max"),
        _day(fields, "from"),
        _day(fields, "to"),
    )
    # One query at a time: a sentence replaces the picture that was searched for.
    like, file = ("", "") if text else (fields.get("like", ""), fields.get("file", ""))
    return Asked(text, like, "" if like else file, depth, shown, int(page), fields.get("m", ""))


def _number(fields: Mapping[str, str], name: str) -> float | None:
    given = fields.get(name, "").strip()
    if not given:
        return None
    # Python's own numbers include "1_000" and digits of other scripts.
    value = float(given) if re.fullmatch(r"-?\d+(\.\d*)?([eE][+-]?\d+)?", given, re.ASCII) else math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{name}={given}: give a number of 0 or more")
    return value


def _day(fields: Mapping[str, str], name: str) -> datetime.date | None:
    given = fields.get(name, "").strip()
    if not given:
        return None
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", given, re.ASCII):  # a week, or a day without dashes
            raise ValueError(given)
        return datetime.date.fromisoformat(given)
    except ValueError as error:
        raise UserError(f"{name}={given}: give a day as 2026-01-31") from error
