"""HTML of moments: a self-contained page, and the cards that it shares with the search page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from eaglenet_jax.search.query import Moment

STYLE = """
.moments { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.5rem 1.25rem; padding: 0;
  margin: 0; list-style: none; }
.moments .moment { min-width: 0; margin: 0; }
.moments video { width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #16181d; border-radius: 4px;
  display: block; }
.moments p { display: block; margin: .15rem 0 0; font-size: .875rem; }
.moments p.what { margin-top: .5rem; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
.moments p.when { opacity: .8; font-variant-numeric: tabular-nums; }
.moments p.seen { margin-top: .6rem; font-size: .75rem; opacity: .8; }
.moments .frames { display: flex; gap: 2px; margin: .25rem 0 0; padding: 0; list-style: none; align-items: flex-start; }
.moments .frames li { flex: 1 1 0; min-width: 0; margin: 0; }
.moments .share { display: block; text-align: center; font-size: .625rem; line-height: 1rem;
  font-variant-numeric: tabular-nums; }
.moments .column { display: flex; height: 1.75rem; align-items: flex-end; }
.moments .bar { display: block; width: 100%; background: #2f6fde; border-radius: 2px 2px 0 0; }
.moments img { display: block; width: 100%; margin: 0; border-radius: 0; }
"""

PAGE_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.4; }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.125rem; margin: 2.5rem 0 1rem; overflow-wrap: anywhere; }
"""

NOTHING = "<p>The index is empty. Add videos with search index.</p>"


def clock(seconds: float) -> str:
    """Format seconds as 0:07.5, 12:00.0, 1:02:03.0."""
    minutes, rest = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 10:02d}.{rest % 10}"


def results_page(answers: Sequence[tuple[str, Sequence[Moment]]]) -> str:
    """Return a page of (query, its moments), complete in one file.

    Thumbnails are embedded; players read the videos from their files.
    """
    sections = "".join(
        f"<section><h1>{escape(query)}</h1>{cards(moments, _file_url)}</section>" for query, moments in answers
    )
    title = escape(", ".join(query for query, _ in answers))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{PAGE_STYLE}{STYLE}</style></head><body><main>{sections}</main></body></html>\n"
    )


def _file_url(moment: Moment) -> str:
    return f"{Path(moment.path).as_uri()}#t={moment.start:.2f},{moment.end:.2f}"


def cards(
    moments: Sequence[Moment],
    video_url: Callable[[Moment], str],
    frame_url: Callable[[Moment, int], str] | None = None,
) -> str:
    """Return a list of moments, each with a player.

    Args:
        moments: Moments, best first.
        video_url: URL of a moment's video, with the interval to play (#t=start,end).
        frame_url: URL of the picture of one of its frames; None shows the weights of frames without pictures.
    """
    if not moments:
        return NOTHING
    return f'<ol class="moments">{"".join(_card(moment, video_url(moment), frame_url) for moment in moments)}</ol>'


def _card(moment: Moment, url: str, frame_url: Callable[[Moment, int], str] | None) -> str:
    name = escape(Path(moment.path).name)
    when = f"{clock(moment.start)}–{clock(moment.end)}"
    poster = f"data:image/jpeg;base64,{base64.b64encode(moment.thumbnail).decode()}"
    source = escape(url, quote=True)
    kind = "reranked" if moment.reranked else "cosine"
    return (
        f'<li class="moment" data-rank="{moment.rank}">'
        f'<video controls muted preload="none" poster="{poster}" src="{source}" aria-label="{name}, {when}"></video>'
        f'<p class="what" title="{escape(moment.path, quote=True)}">{moment.rank}. {name}</p>'
        f'<p class="when">{when} · {kind} {moment.score:.3f}</p>{_frames(moment, frame_url)}</li>'
    )


def _frames(moment: Moment, frame_url: Callable[[Moment, int], str] | None) -> str:
    if moment.weights is None:
        return ""
    most = max(moment.weights) or 1.0
    items = []
    for number, (time, weight) in enumerate(zip(moment.times, moment.weights, strict=True)):
        picture = ""
        if frame_url is not None:
            url = escape(frame_url(moment, number), quote=True)
            picture = f'<img src="{url}" loading="lazy" alt="the frame at {clock(time)}">'
        items.append(
            f'<li title="{clock(time)}: {weight:.1%}"><span class="share">{weight:.0%}</span><span class="column">'
            f'<span class="bar" style="height:{100 * weight / most:.0f}%"></span></span>{picture}</li>'
        )
    return f'<p class="seen">How much each frame counted</p><ul class="frames">{"".join(items)}</ul>'
