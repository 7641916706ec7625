"""Rendering of this folder's templates, with all values escaped."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).parent


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """Render the template `name` with the style of this folder inside it."""
    style = Markup((FOLDER / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(name).render(style=style, **values)
