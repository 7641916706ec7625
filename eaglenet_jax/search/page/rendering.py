"""Templates of this folder, and what they show of moments: the served page and the page of one file share them."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.previews import tile_size

FOLDER = Path(__file__).parent
WORDS = {"strong": "Strong match", "possible": "Possible match", "weak": "Weak match"}


def clock(seconds: float) -> str:
    """Format seconds as 0:07.5, 12:00.0, 1:02:03.0."""
    minutes, rest = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 10:02d}.{rest % 10}"


def short_clock(seconds: float) -> str:
    """Format seconds as 0:07, 12:00, 1:02:03."""
    return clock(int(seconds)).rpartition(".")[0]


def span(start: float, end: float) -> str:
    """Format an interval in whole seconds, as 0:07–0:12: the start rounded down, the end to the nearest second."""
    first, last = math.floor(start), round(end)
    return f"{short_clock(first)}–{short_clock(max(last, first + 1))}"


def percent(share: float) -> str:
    """Format a share as an SVG length."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a moment as it is shown.

    Attributes:
        number: Its place in the strip of frames, from 0.
        time: Seconds.
        weight: Share of the frames' weight; None without weights.
        height: Height of its bar, relative to the heaviest.
        inside: Whether it lies in the moment.
    """

    number: int
    time: float
    weight: float | None
    height: float
    inside: bool


def frames_of(moment: Moment) -> list[Frame]:
    """Return the frames of a moment."""
    most = max(moment.weights or (1.0,)) or 1.0
    return [
        Frame(
            number,
            time,
            None if moment.weights is None else moment.weights[number],
            0.0 if moment.weights is None else moment.weights[number] / most,
            moment.start <= time <= moment.end,
        )
        for number, time in enumerate(moment.times)
    ]


def inside(moment: Moment) -> tuple[int, int]:
    """Return the numbers of the first and the last frame that lie in a moment; of all where none does."""
    numbers = [frame.number for frame in frames_of(moment) if frame.inside] or [*range(len(moment.times))] or [0]
    return numbers[0], numbers[-1]


def heaviest(moment: Moment) -> int:
    """Return the number of the frame with which a preview starts: in the moment, with the most weight there."""
    first, last = inside(moment)
    numbers, middle = range(first, last + 1), (moment.start + moment.end) / 2
    if moment.weights:
        return max(numbers, key=moment.weights.__getitem__)
    return min(numbers, key=lambda number: abs(moment.times[number] - middle)) if moment.times else 0


def tile(moment: Moment) -> tuple[int, int]:
    """Return width and height of one picture in the strip of a moment."""
    with Image.open(io.BytesIO(moment.thumbnail)) as image:
        return tile_size(*image.size, len(moment.times))


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of the templates; all values are escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": clock, "short_clock": short_clock, "percent": percent}
    made.filters |= {"frames": frames_of, "inside": inside, "heaviest": heaviest, "tile": tile}
    made.filters |= {"filename": lambda path: Path(path).name, "parent": lambda path: str(Path(path).parent)}
    made.globals |= {"WORDS": WORDS, "span": span}
    return made


def render(name: str, values: Mapping[str, Any]) -> str:
    """Render the template `name`."""
    return environment().get_template(name).render(values)


def data_url(kind: str, content: bytes) -> str:
    """Return a file of a media type as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def style() -> str:
    """Return the style sheet of both pages."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")
