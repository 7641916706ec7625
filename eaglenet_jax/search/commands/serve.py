"""`search serve`: serve the search page until Ctrl-C."""

from __future__ import annotations

import argparse
import secrets
import socket
import threading

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C. The model is loaded while the page is there already; if that fails, the server stops."""
    try:
        import uvicorn

        from eaglenet_jax.search.page.answers import Answers
        from eaglenet_jax.search.page.app import make_app
        from eaglenet_jax.search.page.guards import EVERYWHERE, THIS_MACHINE
    except ImportError as error:
        raise UserError("the page needs Starlette and uvicorn: pip install 'eaglenet_jax[app]'") from error
    if given.token == "":
        raise UserError("--token is empty; give one, or leave it out: one is made where it is needed")
    answers = Answers(SearchIndex.open(given.index, given.checkpoint))
    token = given.token
    if token is None and given.host not in THIS_MACHINE:
        token = secrets.token_urlsafe(16)
    listening = _listen(given.host, given.port)
    server = uvicorn.Server(uvicorn.Config(make_app(answers, given.host, token), log_level="warning"))

    def get_ready() -> None:
        answers.get_ready()
        if answers.failed is not None:
            server.should_exit = True

    threading.Thread(target=get_ready, daemon=True).start()
    host, port = listening.getsockname()[:2]
    shown = EVERYWHERE.get(host, host)
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    print(f"{len(answers.index)} windows to search at {address}{f'/?token={token}' if token else ''}", flush=True)
    server.run(sockets=[listening])
    if answers.failed is not None:
        raise answers.failed
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 takes any free one."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port") from error
