"""Drawing of retrieval.png: for some queries the best videos as strips of frames, the right one marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import best_in_order, check_relevance

INK, FAINT, LINE, PAPER = "#1a1a1a", "#6b6b6b", "#d0d0d0", "#ffffff"
RIGHT, MISSED = "#14743a", "#9a1c1c"  # of like darkness to INK: the tick and the words carry the meaning in grayscale
MARGIN, GAP = 28, 22
CAPTION_WIDTH = 310
FRAME, BETWEEN, MOST_FRAMES = 54, 2, 6  # pixels of a frame's side and between frames, frames of a strip
HEAD, BORDER, TEXT_LINE = 28, 5, 26


@dataclass(frozen=True)
class FoundVideo:
    """A video in the answer to a query.

    Attributes:
        frames: [M, H, W, 3] uint8, real frames in the order of time.
        score: Its similarity to the query.
        rank: From 1.
        correct: Whether it is the query's own video.
    """

    frames: np.ndarray
    score: float
    rank: int
    correct: bool


@dataclass(frozen=True)
class QueryResult:
    """A query. found: its best videos, best first. right_rank: rank of its own video in the gallery, from 1."""

    caption: str
    found: Sequence[FoundVideo]
    right_rank: int


def query_results(
    scores: np.ndarray,
    captions: Sequence[str],
    frames_of: Callable[[int], np.ndarray],
    *,
    text_video: np.ndarray | None = None,
    queries: int = 12,
    best: int = 5,
) -> list[QueryResult]:
    """Find the best videos of evenly spaced queries (chosen without looking at the result), for `draw_retrieval`.

    Args:
        scores: [Nt, Nv].
        captions: Nt texts.
        frames_of: frames_of(v) → [M, H, W, 3] uint8, the real frames of video v; called for shown videos only.
        text_video: [Nt], the video of each text. None: the diagonal.
        queries: How many queries.
        best: How many videos of each. Equal scores keep the order of the gallery.

    Returns:
        The queries, in the order of their rows.

    Raises:
        UserError: If captions or relevance do not fit the scores.
    """
    text_video = check_relevance(scores.shape, text_video)
    if len(captions) != len(text_video):
        raise UserError(f"{len(captions)} captions for {len(text_video)} rows of scores: give one for each")
    results = []
    for text in np.linspace(0, len(captions) - 1, min(queries, len(captions))).astype(int):
        row, right = scores[text], text_video[text]
        before = np.count_nonzero(row > row[right]) + np.count_nonzero(row[:right] == row[right])
        found = [
            FoundVideo(frames_of(v), float(row[v]), i + 1, bool(v == right))
            for i, v in enumerate(best_in_order(row, best))
        ]
        results.append(QueryResult(captions[text], found, int(before) + 1))
    return results


def draw_retrieval(path: str | Path, queries: Sequence[QueryResult], title: str = "Text-to-video retrieval") -> None:
    """Write a PNG with one row a query: its caption, then its best videos as strips of at most six frames.

    Raises UserError if there is no query.
    """
    from PIL import Image, ImageDraw

    if not queries:
        raise UserError("no queries to draw: give at least one")
    fonts = _fonts()
    columns = max(len(query.found) for query in queries)
    strip = MOST_FRAMES * (FRAME + BETWEEN) - BETWEEN
    cell = HEAD + FRAME + 2 * BORDER
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    labels = [_wrap(measure, f'"{query.caption}"', fonts["caption"], CAPTION_WIDTH) for query in queries]
    heights = [max(cell, TEXT_LINE * (len(label) + 1)) + GAP for label in labels]
    top = MARGIN + 116
    width = 2 * MARGIN + CAPTION_WIDTH + columns * (GAP + strip + 2 * BORDER)
    page = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    _draw_heading(draw, title, queries, columns, fonts)
    y = top
    for query, label, height in zip(queries, labels, heights, strict=True):
        draw.line([(MARGIN, y - GAP // 2), (width - MARGIN, y - GAP // 2)], fill=LINE)
        _draw_label(draw, y, label, query, fonts)
        for i, video in enumerate(query.found):
            x = MARGIN + CAPTION_WIDTH + GAP + i * (GAP + strip + 2 * BORDER)
            _draw_video(page, draw, (x, y), video, fonts)
        y += height
    page.save(path, format="PNG")


def _fonts() -> dict[str, Any]:
    from PIL import ImageFont

    return {name: ImageFont.load_default(size=size) for name, size in (("title", 30), ("caption", 20), ("small", 16))}


def _draw_heading(draw: Any, title: str, queries: Sequence[QueryResult], columns: int, fonts: dict[str, Any]) -> None:
    draw.text((MARGIN, MARGIN - 8), _drawable(title), fill=INK, font=fonts["title"])
    first, among = (sum(query.right_rank <= depth for query in queries) for depth in (1, columns))
    lines = (
        f"Each row: a sentence searched for, then the {columns} videos that score highest for it, best first; each is "
        "a strip of its frames, left to right in time, with its score.",
        f"The right video comes first for {first} of these {len(queries)} sentences and is among the {columns} for "
        f"{among}. It is marked:",
    )
    y = MARGIN + 36
    for line in lines:
        draw.text((MARGIN, y), line, fill=INK, font=fonts["caption"])
        y += TEXT_LINE
    end = MARGIN + draw.textlength(lines[-1], font=fonts["caption"])
    _draw_tag(draw, (int(end) + 10, y - TEXT_LINE), fonts)


def _draw_label(draw: Any, y: int, label: list[str], query: QueryResult, fonts: dict[str, Any]) -> None:
    for i, line in enumerate(label):
        draw.text((MARGIN, y + TEXT_LINE * i), line, fill=INK, font=fonts["caption"])
    shown = query.right_rank <= len(query.found)
    text = f"right video: rank {query.right_rank}" + ("" if shown else f", not among these {len(query.found)}")
    draw.text((MARGIN, y + TEXT_LINE * len(label) + 2), text, fill=RIGHT if shown else MISSED, font=fonts["small"])


def _draw_video(page: Any, draw: Any, corner: tuple[int, int], video: FoundVideo, fonts: dict[str, Any]) -> None:
    from PIL import Image, ImageOps

    x, y = corner
    draw.text((x, y + 2), f"{video.rank}.", fill=INK, font=fonts["caption"])
    draw.text((x + 30, y + 4), f"{video.score:.3f}", fill=FAINT, font=fonts["small"])
    if video.correct:
        _draw_tag(draw, (x + 90, y), fonts)
    shown = np.unique(np.linspace(0, len(video.frames) - 1, min(MOST_FRAMES, len(video.frames))).astype(int))
    right = x + 2 * BORDER + len(shown) * (FRAME + BETWEEN) - BETWEEN - 1
    box = (x, y + HEAD, right, y + HEAD + 2 * BORDER + FRAME - 1)
    draw.rectangle(box, outline=RIGHT if video.correct else LINE, width=BORDER if video.correct else 1)
    for i, frame in enumerate(shown):
        picture = ImageOps.contain(Image.fromarray(video.frames[frame]), (FRAME, FRAME))
        left = x + BORDER + i * (FRAME + BETWEEN) + (FRAME - picture.width) // 2
        page.paste(picture, (left, y + HEAD + BORDER + (FRAME - picture.height) // 2))


def _draw_tag(draw: Any, corner: tuple[int, int], fonts: dict[str, Any]) -> None:
    """Draw a filled label with a tick; the font has no tick."""
    x, y = corner
    draw.rounded_rectangle((x, y + 1, x + 72, y + 24), radius=4, fill=RIGHT)
    draw.line([(x + 7, y + 12), (x + 11, y + 17), (x + 19, y + 6)], fill=PAPER, width=3, joint="curve")
    draw.text((x + 25, y + 3), "right", fill=PAPER, font=fonts["small"])


def _wrap(draw: Any, text: str, font: Any, width: int, most_lines: int = 4) -> list[str]:
    lines = [""]
    for word in _drawable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], lines[most_lines - 1] + ' ..."']
    return lines


def _drawable(text: str) -> str:
    """Reduce to ASCII, all that the built-in font has: drop accents, write other letters as question marks."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()
