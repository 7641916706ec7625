"""Search page: Gradio for the form, plain HTML for the moments; it serves only files of the index."""

from __future__ import annotations

import math
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.data.video_files import SUFFIXES
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.html import STYLE, cards
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.playing import copy_of_moment, picture_of, plays_in_browsers
from eaglenet_jax.search.query import Moment
from eaglenet_jax.search.store import StoredWindow

if TYPE_CHECKING:
    import gradio
    from fastapi import FastAPI

RERANK_DEPTHS = [0, 15, 100, 500]
EVERYWHERE = ("0.0.0.0", "::")
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}  # browsers must not guess another type from the content
PAGE_STYLE = """
.gradio-container .fillable { max-width: 88rem !important; }
.trouble { border-left: 4px solid #b3261e; padding: .5rem .75rem; margin: 0; }
.summary { margin: 0; opacity: .8; }
"""


def make_app(index: SearchIndex, host: str = "127.0.0.1") -> FastAPI:
    """Build the web app of an index.

    Serves the page at /; /media/ID, the video of a row of the index; /moments/ID, a copy of its interval for formats
    that browsers do not play; /frames/ID/N, the picture of its frame N. Anything else is not found.

    Args:
        index: The index.
        host: The address that it will listen on. Requests for another host name are refused, so that no web page can
            reach it by DNS rebinding.

    Raises:
        UserError: Gradio is not installed.
    """
    try:
        import gradio
        from fastapi import FastAPI, HTTPException
        from fastapi.responses import FileResponse, Response
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise UserError("the page needs Gradio: pip install 'eaglenet_jax[app]'") from error

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_names(host))

    def row(identifier: str) -> StoredWindow:
        window = index.store.window(identifier)
        if window is None or not _is_the_indexed_file(window):
            raise HTTPException(404, "the index has no such moment, or its file is gone or another one")
        return window

    @app.get("/media/{identifier}")
    def media(identifier: str) -> Response:
        path = Path(row(identifier).path)
        if path.suffix[1:].lower() not in SUFFIXES:
            raise HTTPException(404, "the moment's file does not go by a name of videos")
        return FileResponse(path, headers=NO_SNIFFING)

    @app.get("/moments/{identifier}")
    def moment(identifier: str, start: float | None = None, end: float | None = None) -> Response:
        window = row(identifier)
        stretch = _stretch(window, start, end, index.store.settings.rule.seconds)
        try:
            content = copy_of_moment(window.path, *stretch)
            return Response(content, media_type="video/mp4", headers=NO_SNIFFING)
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/frames/{identifier}/{number}")
    def frame(identifier: str, number: int) -> Response:
        window = row(identifier)
        if not 0 <= number < len(window.times):
            raise HTTPException(404, "the moment has no such frame")
        try:
            picture = picture_of(window.path, window.times[number])
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600", **NO_SNIFFING})

    # System fonts, so that the page loads nothing from other hosts.
    theme = gradio.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return gradio.mount_gradio_app(
        app,
        _form(index),
        path="/",
        server_name=host,
        footer_links=[],
        theme=theme,
        css=PAGE_STYLE + STYLE,
        ssr_mode=False,
        show_error=True,
    )


def allowed_names(host: str) -> list[str]:
    """Return the host names that a request to a server at `host` may use; "*" for any."""
    if host in EVERYWHERE:
        return ["*"]
    # Browsers write an IPv6 address in brackets, which the framework may or may not strip.
    return [host, *([f"[{host}]"] if ":" in host else []), "localhost", "127.0.0.1", "::1", "[::1]"]


def _is_the_indexed_file(window: StoredWindow) -> bool:
    """Return whether the file of a row exists with the size that it had when it was indexed."""
    path = Path(window.path)
    try:
        return path.is_file() and window.file is not None and path.stat().st_size == window.file.size
    except OSError:
        return False


def _stretch(window: StoredWindow, start: float | None, end: float | None, seconds: float) -> tuple[float, float]:
    """Return the interval to show of a moment: as requested, within reach of a merged moment.

    A merged moment reaches at most a window's length further than its best window on both sides.
    """
    if start is None or end is None or not (math.isfinite(start) and math.isfinite(end)):
        return window.start, window.end
    first, last = max(0.0, window.start - seconds), window.end + seconds
    return min(max(start, first), last), min(max(end, first), last)


def _form(index: SearchIndex) -> gradio.Blocks:
    import gradio as gr

    model = index.model
    with gr.Blocks(title="Search your videos", analytics_enabled=False) as form:
        gr.Markdown("# Search your videos")
        with gr.Row(equal_height=True):
            text = gr.Textbox(
                label="Describe a scene", placeholder="a dog runs up the stairs", autofocus=True, scale=5, max_lines=1
            )
            button = gr.Button("Search", variant="primary", scale=1, min_width=120)
        with gr.Row():
            top = gr.Slider(1, 60, value=12, step=1, label="Moments")
            depth = gr.Radio(
                RERANK_DEPTHS,
                value=RERANK_DEPTHS[2] if model.reranks else 0,
                label=f"Nearest windows that {type(model.system.head).__name__} rescores",
                interactive=model.reranks,
            )
            merge = gr.Checkbox(label="Merge overlapping windows", value=True)
        summary = gr.HTML()
        results = gr.HTML()
        inputs, outputs = [text, top, depth, merge], [summary, results]

        def answer(*given: Any) -> tuple[str, str]:
            return answer_html(index, *given)

        text.submit(answer, inputs, outputs, api_name=False)
        button.click(answer, inputs, outputs, api_name=False)
    return form


def answer_html(index: SearchIndex, text: str, top: int, rerank: int, merge: bool) -> tuple[str, str]:
    """Return (a line about the answer or about what is wrong with the query, the moments), both HTML."""
    started = time.perf_counter()
    try:
        moments = index.query(text or "", top=int(top), rerank=int(rerank), merge=merge)
        cut = index.model.words_cut(text)
    except UserError as error:
        return f'<p class="trouble" role="alert">{escape(str(error))}</p>', ""
    parts = [f"{len(moments)} moments out of {len(index)} windows in {time.perf_counter() - started:.2f} s"]
    if cut:
        parts.append(f"the last {cut} tokens of the query are cut: it is longer than the model reads")
    return f'<p class="summary" role="status">{"; ".join(parts)}</p>', cards(moments, _video_url, _frame_url)


def _video_url(moment: Moment) -> str:
    if plays_in_browsers(moment.path):
        return f"/media/{moment.id}#t={moment.start:.2f},{moment.end:.2f}"
    return f"/moments/{moment.id}?start={moment.start:.2f}&end={moment.end:.2f}"


def _frame_url(moment: Moment, number: int) -> str:
    return f"/frames/{moment.id}/{number}"
