"""Rendering of this folder's templates, with all values escaped."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # late: a page is the last thing that a run makes

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """Render the template `name` with the style of this folder inside it."""
    from markupsafe import Markup

    style = Markup((FOLDER / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(name).render(style=style, **values)
