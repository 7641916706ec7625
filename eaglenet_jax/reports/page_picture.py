"""The picture at the top of a page: retrieved videos as strips, wide and for small screens, inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eaglenet_jax.reports.retrieval_drawing import narrow_image, retrieval_image
from eaglenet_jax.reports.retrieval_picture import QueryResult

QUALITY = 80  # of WebP


@dataclass(frozen=True)
class PagePicture:
    """wide, narrow: data URIs, the second for small screens. said: in words."""

    wide: str
    narrow: str
    said: str


def page_picture(queries: Sequence[QueryResult], title: str, facts: str) -> PagePicture:
    """Draw queries for a page; arguments are those of `draw_retrieval`."""
    said = "; ".join(f"“{query.caption}” finds its video at rank {query.own.rank}" for query in queries)
    wide, narrow = _data_uri(retrieval_image(queries, title, facts)), _data_uri(narrow_image(queries))
    return PagePicture(wide, narrow, f"Strips of frames: {said}.")


def _data_uri(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
