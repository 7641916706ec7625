"""Formulas of the site as MathML, written at build time: pages need no script and no server."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def on_page_content(content: str, **_: object) -> str:
    """Replace the formulas of a page (an event of mkdocs).

    Args:
        content: the page's HTML, with formulas as pymdownx.arithmatex leaves them.

    Returns:
        The HTML with `<math>` elements in their place.
    """
    return FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    block = found["open"] == "["
    formula = convert(
        html.unescape(found["latex"]).strip(), display="block" if block else "inline"
    )
    return f'<div class="formula">{formula}</div>' if block else formula
