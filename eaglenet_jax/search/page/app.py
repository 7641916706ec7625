"""Web app of an index: the page, what it shows, and the JSON interface, behind the checks of every request."""

from __future__ import annotations

import hashlib

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.api import Api
from eaglenet_jax.search.page.guards import Guards
from eaglenet_jax.search.page.media import KEPT, Media
from eaglenet_jax.search.page.rendering import FOLDER
from eaglenet_jax.search.page.views import Views

FILES = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def make_app(answers: Answers, host: str = "127.0.0.1", token: str | None = None) -> Starlette:
    """Build the web app of an index.

    Args:
        answers: The index.
        host: The address that it will listen on; requests for another host name are refused.
        token: What a visitor has to show once; None for nothing.
    """
    contents = {name: (FOLDER / name).read_bytes() for name in FILES}
    version = hashlib.blake2b(b"".join(contents.values()), digest_size=4).hexdigest()

    def file(name: str) -> Route:
        def serve(request: Request) -> Response:
            return Response(contents[name], media_type=FILES[name], headers=KEPT)

        return Route(f"/{name}", serve)

    routes = [
        *Views(answers, version).routes,
        *Media(answers.index.store).routes,
        *Api(answers).routes,
        *map(file, FILES),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guards, host=host, token=token)])
