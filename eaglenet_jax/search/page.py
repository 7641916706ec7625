"""The page to search on: Gradio for the form, plain HTML for the moments, and the files of the index and no others."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from data_prep.decode import DecodeError
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.html import STYLE, cards
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.pictures import THUMBNAIL, VideoReader, as_jpeg
from eaglenet_jax.search.playing import copy_of_moment, plays_in_browsers
from eaglenet_jax.search.query import Moment

if TYPE_CHECKING:
    import gradio
    from fastapi import FastAPI

RERANK_DEPTHS = [0, 15, 100, 500]
EVERYWHERE = ("0.0.0.0", "::")
PAGE_STYLE = """
.gradio-container .fillable { max-width: 88rem !important; }
.trouble { border-left: 4px solid #b3261e; padding: .5rem .75rem; margin: 0; }
.summary { margin: 0; opacity: .8; }
"""


def make_app(index: SearchIndex, host: str = "127.0.0.1") -> FastAPI:
    """The page at / and what it shows: /media/ID, the video of a row of the index; /moments/ID, a copy of its stretch
    for what browsers do not play; /frames/ID/N, the picture of its frame N. Anything else is not found.

    host: the address that it will listen on; requests for another name are refused, so that no page of the web can ask
    through a name of its own. UserError without Gradio.
    """
    try:
        import gradio
        from fastapi import FastAPI, HTTPException
        from fastapi.responses import FileResponse, Response
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise UserError("the page needs Gradio: pip install 'eaglenet_jax[app]'") from error

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    names = ["*"] if host in EVERYWHERE else [host, "localhost", "127.0.0.1"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)

    def row(identifier: str) -> Any:
        window = index.store.window(identifier)
        if window is None or not Path(window.path).is_file():
            raise HTTPException(404, "the index has no such moment, or its file is gone")
        return window

    @app.get("/media/{identifier}")
    def media(identifier: str) -> Response:
        return FileResponse(row(identifier).path)

    @app.get("/moments/{identifier}")
    def moment(identifier: str) -> Response:
        window = row(identifier)
        try:
            return Response(copy_of_moment(window.path, window.start, window.end), media_type="video/mp4")
        except DecodeError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/frames/{identifier}/{number}")
    def frame(identifier: str, number: int) -> Response:
        window = row(identifier)
        if not 0 <= number < len(window.times):
            raise HTTPException(404, "the moment has no such frame")
        with VideoReader(Path(window.path)) as video:
            found = video.at([window.times[number]])
        if not found:
            raise HTTPException(404, "the file has no such frame now")
        small = Image.fromarray(found[0])
        small.thumbnail((THUMBNAIL[0] // 2, THUMBNAIL[1] // 2))
        return Response(as_jpeg(small), media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})

    # Fonts of this machine: the page asks no other for anything.
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


def _form(index: SearchIndex) -> gradio.Blocks:
    import gradio as gr

    model = index.model
    with gr.Blocks(title="Search your videos", analytics_enabled=False) as form:
        gr.Markdown("# Search your videos")
        with gr.Row(equal_height=True):
            text = gr.Textbox(
                label="What is to be seen", placeholder="a dog runs up the stairs", autofocus=True, scale=5, max_lines=1
            )
            button = gr.Button("Search", variant="primary", scale=1, min_width=120)
        with gr.Row():
            top = gr.Slider(1, 60, value=12, step=1, label="Moments")
            depth = gr.Radio(
                RERANK_DEPTHS,
                value=RERANK_DEPTHS[2] if model.reranks else 0,
                label=f"Nearest windows that {type(model.system.head).__name__} scores again",
                interactive=model.reranks,
            )
            merge = gr.Checkbox(label="Join windows that overlap", value=True)
        summary = gr.HTML()
        found = gr.HTML()
        inputs, outputs = [text, top, depth, merge], [summary, found]

        def answer(*given: Any) -> tuple[str, str]:
            return answer_html(index, *given)

        text.submit(answer, inputs, outputs, api_name=False)
        button.click(answer, inputs, outputs, api_name=False)
    return form


def answer_html(index: SearchIndex, text: str, top: int, rerank: int, merge: bool) -> tuple[str, str]:
    """(a line about the answer or about what is wrong with the query, the moments), both HTML."""
    started = time.perf_counter()
    try:
        moments = index.query(text or "", top=int(top), rerank=int(rerank), merge=merge)
        cut = index.model.words_cut(text)
    except UserError as error:
        return f'<p class="trouble" role="alert">{escape(str(error))}</p>', ""
    parts = [f"{len(moments)} moments out of {len(index)} windows in {time.perf_counter() - started:.2f} s"]
    if cut:
        parts.append(f"the last {cut} word pieces of the query are not read: the model takes no longer ones")
    return f'<p class="summary" role="status">{"; ".join(parts)}</p>', cards(moments, _video_url, _frame_url)


def _video_url(moment: Moment) -> str:
    if plays_in_browsers(moment.path):
        return f"/media/{moment.id}#t={moment.start:.2f},{moment.end:.2f}"
    return f"/moments/{moment.id}"


def _frame_url(moment: Moment, number: int) -> str:
    return f"/frames/{moment.id}/{number}"
