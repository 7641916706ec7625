"""Drawing of retrieval.png: strips of frames with the weight of each frame and the part that the caption describes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.reports.retrieval_picture import FoundVideo, QueryResult

INK, FAINT, LINE, PAPER = "#1a1a1a", "#6b6b6b", "#d8d8d8", "#ffffff"
RIGHT, MISSED = "#14743a", "#9a1c1c"  # of like darkness to INK: the tick and the words carry the meaning in grayscale
PART, WEIGHT = "#d9560b", "#8fa3bd"  # the described part, and weight elsewhere
MARGIN, COLUMN_GAP, QUERY_GAP, BORDER = 40, 56, 48, 5
NARROW, NARROW_MARGIN = 760, 14  # width of the picture for small screens
MOST_FRAMES = 12  # of a strip
CAPTION_LINES = 3
SHARE_AT_TOP = 3  # a frame of this many times the mean weight has a full bar, so that equal weights look low


@dataclass(frozen=True)
class StripSize:
    """Sizes of a strip in pixels: of a frame, between frames, and of the bars below."""

    frame: int
    between: int
    bar: int

    @classmethod
    def fitting(cls, width: int, frames: int, largest: int, between: int, bar: int) -> StripSize:
        """Make the largest strip of a number of frames that is no wider than `width`."""
        return cls(min(largest, (width - between * (frames - 1)) // frames), between, bar)

    def left(self, frame: int) -> int:
        """Where a frame begins, from the strip's left edge."""
        return frame * (self.frame + self.between)

    def width(self, frames: int) -> int:
        """The width of a strip of some frames."""
        return self.left(frames) - self.between


@dataclass(frozen=True)
class Strip:
    """The frames of a video that are drawn.

    Attributes:
        pictures: At most MOST_FRAMES frames; of a longer video those in the middle of as many equal parts.
        weights: Sum of the weights of each part, or None.
        described: Whether a frame of each part is described, or None.
    """

    pictures: Sequence[np.ndarray]
    weights: np.ndarray | None
    described: np.ndarray | None

    @classmethod
    def of(cls, video: FoundVideo, described: np.ndarray | None = None) -> Strip:
        """Divide a video into the parts that are drawn."""
        parts = np.array_split(np.arange(len(video.frames)), min(MOST_FRAMES, len(video.frames)))
        return cls(
            [video.frames[part[len(part) // 2]] for part in parts],
            None if video.weights is None else np.array([video.weights[part].sum() for part in parts]),
            None if described is None else np.array([described[part].any() for part in parts]),
        )

    @property
    def part(self) -> tuple[int, int] | None:
        """First and last frame that is described, None where none is."""
        if self.described is None or not self.described.any():
            return None
        inside = np.flatnonzero(self.described)
        return int(inside[0]), int(inside[-1])


class Page:
    """A picture that strips are drawn on."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        sizes = {"title": 38, "caption": 31, "text": 23, "small": 19}
        self.fonts = {name: ImageFont.load_default(size=size) for name, size in sizes.items()}

    def text(self, corner: tuple[int, int], text: str, font: str = "text", fill: str = INK, anchor: str = "la") -> int:
        """Write a line; returns where it ends."""
        self.draw.text(corner, text, fill=fill, font=self.fonts[font], anchor=anchor)
        return corner[0] + round(self.draw.textlength(text, font=self.fonts[font]))

    def strip(self, corner: tuple[int, int], strip: Strip, size: StripSize) -> None:
        """Draw frames and the bars of their weights."""
        from PIL import Image, ImageOps

        x, y = corner
        for frame, pixels in enumerate(strip.pictures):
            picture = ImageOps.fit(Image.fromarray(pixels), (size.frame, size.frame))
            self.image.paste(picture, (x + size.left(frame), y))
        if strip.weights is None:
            return
        base = y + size.frame + BORDER + 4 + size.bar
        top = max(float(strip.weights.max()), SHARE_AT_TOP / len(strip.weights))
        for frame, weight in enumerate(strip.weights):
            left = x + size.left(frame)
            inside = strip.described is not None and strip.described[frame]
            height = round(size.bar * float(weight) / top)
            self.draw.rectangle((left, base - height, left + size.frame - 1, base), fill=PART if inside else WEIGHT)
        self.draw.line([(x, base), (x + size.width(len(strip.pictures)) - 1, base)], fill=FAINT)

    def bracket(self, left: int, right: int, y: int, label: str = "") -> None:
        """Draw a bracket that opens downwards, with a label in its middle where there is room."""
        self.draw.line([(left, y + 12), (left, y), (right, y), (right, y + 12)], fill=PART, width=4)
        half = self.draw.textlength(label, font=self.fonts["small"]) / 2 + 8
        middle = (left + right) / 2
        if label and middle - half > left + 12:
            self.draw.rectangle((middle - half, y - 10, middle + half, y + 10), fill=PAPER)
            self.draw.text((middle, y), label, fill=PART, font=self.fonts["small"], anchor="mm")

    def tag(self, corner: tuple[int, int], text: str) -> int:
        """Draw a filled label with a tick (the font has none); returns where it ends."""
        x, y = corner
        end = x + 44 + round(self.draw.textlength(text, font=self.fonts["text"]))
        self.draw.rounded_rectangle((x, y - 3, end, y + 29), radius=6, fill=RIGHT)
        self.draw.line([(x + 10, y + 13), (x + 16, y + 20), (x + 27, y + 5)], fill=PAPER, width=4, joint="curve")
        self.text((x + 34, y), text, fill=PAPER)
        return end


def draw_retrieval(
    path: str | Path, queries: Sequence[QueryResult], title: str = "A sentence finds its clip", facts: str = ""
) -> None:
    """Write a PNG: for each query its caption, its own video as a large strip, and the best others as small ones.

    Args:
        path: The file.
        queries: At least one.
        title: First line.
        facts: Second line, as the metrics of the whole split.

    Raises:
        UserError: If there is no query.
    """
    retrieval_image(queries, title, facts).save(path, format="PNG")


def narrow_image(queries: Sequence[QueryResult]) -> Any:
    """Draw a picture for a small screen (PIL): each query's caption and its own video, no title and no other videos."""
    most = max(min(MOST_FRAMES, len(query.own.frames)) for query in queries)
    size = StripSize.fitting(NARROW - 2 * (NARROW_MARGIN + BORDER), most, 132, 3, 48 if _weighs(queries) else 0)
    measure = Page(1, 1)
    inside = NARROW - 2 * NARROW_MARGIN
    captions = [_wrap(measure, f"“{_drawable(query.caption)}”", inside) for query in queries]
    heights = [_height(query, len(lines), size, size, 0) for query, lines in zip(queries, captions, strict=True)]
    page = Page(NARROW, NARROW_MARGIN + 150 + sum(heights) + QUERY_GAP * (len(queries) - 1) + NARROW_MARGIN)
    y = _draw_legend(page, (NARROW_MARGIN, NARROW_MARGIN), queries, NARROW) + 50
    for query, lines, height in zip(queries, captions, heights, strict=True):
        _draw_own(page, (NARROW_MARGIN, y), query, lines, size)
        y += height + QUERY_GAP
    return page.image.crop((0, 0, NARROW, y - QUERY_GAP + NARROW_MARGIN))


def retrieval_image(queries: Sequence[QueryResult], title: str, facts: str) -> Any:
    """Draw the picture of `draw_retrieval` (PIL)."""
    if not queries:
        raise UserError("no queries to draw: give at least one")
    most = max(min(MOST_FRAMES, len(video.frames)) for query in queries for video in (query.own, *query.others))
    weighs = _weighs(queries)
    large = StripSize.fitting(1060, most, 132, 3, 64 if weighs else 0)
    small = StripSize.fitting(560, most, 72, 2, 22 if weighs else 0)
    right = MARGIN + max(large.width(most), 560) + 2 * BORDER + COLUMN_GAP
    width = right + 48 + small.width(most) + MARGIN
    measure = Page(1, 1)
    captions = [_wrap(measure, f"“{_drawable(query.caption)}”", right - COLUMN_GAP - MARGIN) for query in queries]
    heights = [_height(query, len(lines), large, small) for query, lines in zip(queries, captions, strict=True)]
    top = MARGIN + 160
    page = Page(width, top + sum(heights) + QUERY_GAP * (len(queries) - 1) + MARGIN)
    _draw_heading(page, title, facts, queries)
    page.text((right, top - 34), "the best other clips", "small", FAINT)
    y = top
    for query, lines, height in zip(queries, captions, heights, strict=True):
        if y > top:
            page.draw.line([(MARGIN, y - QUERY_GAP // 2), (width - MARGIN, y - QUERY_GAP // 2)], fill=LINE)
        _draw_own(page, (MARGIN, y), query, lines, large)
        for place, video in enumerate(query.others):
            _draw_other(page, (right, y + place * _step(small)), video, small)
        y += height + QUERY_GAP
    return page.image


def _weighs(queries: Sequence[QueryResult]) -> bool:
    return any(query.own.weights is not None for query in queries)


def _step(size: StripSize) -> int:
    return size.frame + size.bar + (BORDER + 4 if size.bar else 0) + 14


def _height(query: QueryResult, lines: int, large: StripSize, small: StripSize, others: int | None = None) -> int:
    others = len(query.others) if others is None else others
    own = 40 * lines + 42 + (26 if query.described is not None else 6) + 2 * BORDER + _step(large) - 14
    return max(own, _step(small) * others - 14)


def _draw_heading(page: Page, title: str, facts: str, queries: Sequence[QueryResult]) -> None:
    page.text((MARGIN, MARGIN - 8), _drawable(title), "title")
    page.text((MARGIN, MARGIN + 44), _drawable(facts), fill=FAINT)
    _draw_legend(page, (MARGIN, MARGIN + 86), queries, page.image.width)


def _draw_legend(page: Page, corner: tuple[int, int], queries: Sequence[QueryResult], width: int) -> int:
    """Draw what colours mean, on several lines where the page is narrow; returns where the last line stands."""
    x, y = corner
    stacked = width <= NARROW
    page.draw.rectangle((x, y, x + 34, y + 24), outline=RIGHT, width=BORDER)
    x = page.text((x + 44, y), "the clip of the sentence") + 36
    parts = any(query.described is not None for query in queries)
    if _weighs(queries):
        x, y = (corner[0], y + 38) if stacked else (x, y)
        for place, height in enumerate((8, 24, 14)):
            bar = (x + 12 * place, y + 25 - height, x + 12 * place + 9, y + 25)
            page.draw.rectangle(bar, fill=PART if parts and place == 1 else WEIGHT)
        x = page.text((x + 46, y), "how much each frame counts for the sentence") + 36
    if parts:
        x, y = (corner[0], y + 38) if stacked else (x, y)
        page.bracket(x, x + 40, y + 8)
        page.text((x + 52, y), "the part that the sentence describes", fill=PART)
    return y


def _draw_own(page: Page, corner: tuple[int, int], query: QueryResult, lines: Sequence[str], size: StripSize) -> None:
    x, y = corner
    for line in lines:
        page.text((x, y), line, "caption")
        y += 40
    y += 6
    found = query.own.rank == 1
    if found:
        x = page.tag((x, y), f"first of {query.videos:,}") + 16
    else:
        x = page.text((x, y), f"rank {query.own.rank:,} of {query.videos:,}", fill=MISSED) + 16
    strip = Strip.of(query.own, query.described)
    if query.own.weights is not None and query.described is not None and strip.part is not None:
        share = float(query.own.weights[query.described].sum())
        page.text((x, y), f"{100 * share:.0f} % of the weight on the part described", fill=PART)
    x, y = corner[0] + BORDER, y + 36 + (26 if query.described is not None else 6)
    if strip.part is not None:
        first, last = strip.part
        page.bracket(x + size.left(first), x + size.left(last) + size.frame - 1, y - 14, "described")
    y += BORDER
    box = (x - BORDER, y - BORDER, x + size.width(len(strip.pictures)) + BORDER - 1, y + size.frame + BORDER - 1)
    page.draw.rectangle(box, outline=RIGHT, width=BORDER)
    page.strip((x, y), strip, size)


def _draw_other(page: Page, corner: tuple[int, int], video: FoundVideo, size: StripSize) -> None:
    x, y = corner
    page.text((x, y + size.frame // 2), f"{video.rank}.", fill=FAINT, anchor="lm")
    page.strip((x + 48, y), Strip.of(video), size)


def _wrap(page: Page, text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and page.draw.textlength(longer, font=page.fonts["caption"]) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > CAPTION_LINES:
        lines = [*lines[: CAPTION_LINES - 1], lines[CAPTION_LINES - 1] + " …”"]
    return lines


def _drawable(text: str) -> str:
    """Reduce to ASCII, nearly all that the built-in font has: drop accents, write other letters as question marks."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()
